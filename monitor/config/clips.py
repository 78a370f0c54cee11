"""Settings of clips: the sound of events, which is stored only where that is wanted."""

from typing import Annotated

from pydantic import Field

from monitor.config.settings import Count, Settings, Text


class ClipSettings(Settings):
    """The sound of events as FLAC, with a picture; only with `privacy: clips`."""

    path: Text = "clips"
    """Folder, relative to state_dir."""

    labels: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """Labels whose sound is stored; none: all."""

    before_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Sound before the event."""

    after_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Sound after the event."""

    max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 7.0
    """Clips are deleted after so many days."""

    max_total_mib: Annotated[float, Field(gt=0, le=1_000_000)] = 500.0
    """Above this size of all clips together the oldest are deleted."""

    max_count: Count = 1000
    """Above this number of clips the oldest are deleted."""

    min_free_mib: Annotated[float, Field(ge=0, le=1_000_000)] = 500.0
    """Nothing is stored while the disk has less room than this."""
