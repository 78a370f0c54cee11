"""Settings of the canary: a known sound that must come out again and again."""

from typing import Annotated, Literal

from pydantic import Field

from monitor.config.settings import Settings

CanaryLabel = Literal["siren", "dog_bark", "car_horn"]
"""What the program can synthesise, the surest first."""


class CanarySettings(Settings):
    """A known sound, mixed in apart from what is heard: it must be recognised."""

    every_seconds: Annotated[float, Field(ge=60, le=604_800)] | None = 3600.0
    """Each live source is tried so often, and soon after the start; null: never."""

    label: CanaryLabel | None = None
    """Which sound; null: the first of these three that model and rules can tell."""
