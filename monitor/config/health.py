"""Settings of microphone health: what counts as wrong, and for how long."""

from typing import Annotated

from pydantic import Field

from monitor.config.settings import Settings
from monitor.records import HealthKind


class HealthSettings(Settings):
    """When a microphone counts as ill, and as well again."""

    hold_seconds: Annotated[float, Field(ge=1, le=3600)] = 10.0
    """What is wrong is told once it has lasted so long."""

    clear_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """It is over once it was away for so long."""

    deaf_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """A source that is not listened to is told once that has lasted so long."""

    noise_floor_fall_db: Annotated[float, Field(ge=3, le=100)] = 12.0
    """So far below the quietest hours of the last day, it is covered or muffled."""

    ignore: Annotated[tuple[HealthKind, ...], Field(strict=False)] = ()
    """Kinds that are never told, as dead-channel of one capsule on a stereo plug."""
