"""Settings of the sources, and of the checks that they are healthy."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from monitor.config.base import Name, Settings, Text
from monitor.records import HealthKind


def _is_input(text: str) -> str:
    if not re.fullmatch(r"(mic|file|command):.*\S.*|demo:", text, re.DOTALL):
        raise ValueError("must be mic:NAME, file:PATH, command:ARGV or demo:")
    return text


Input = Annotated[Text, AfterValidator(_is_input)]


SampleFormat = Literal["s16le", "s24le", "s32le", "f32le"]


class SourceSettings(Settings):
    """One stream of samples, and the device, file or program that delivers it."""

    name: Name
    """Name in records, logs and rules."""

    input: Input = "mic:default"
    """mic:NAME, file:PATH, command:ARGV (writes WAV or raw PCM on stdout) or demo:."""

    sample_rate: Annotated[int, Field(ge=8_000, le=192_000)] | None = None
    """Sample rate in Hz; null: the microphone's default, 44100 for raw PCM."""

    channels: Annotated[int, Field(ge=1, le=64)] | None = None
    """Channels to capture; null: one or two for a microphone, one for raw PCM."""

    sample_format: SampleFormat = "s16le"
    """Encoding of a command's raw PCM; ignored if the command writes WAV."""

    stall_seconds: Annotated[float, Field(ge=0.5, le=3600)] = 2.0
    """A source that delivers no samples for this long is reopened."""

    labels: Annotated[tuple[Text, ...], Field(strict=False)] | None = None
    """Labels that are reported of this source; null: as for all sources."""

    level_offset_db: Annotated[float, Field(ge=-200, le=200)] = 0.0
    """Added to A-weighted levels: the sound pressure level at which this microphone
    clips; 0: unknown, and the levels are re full scale, called dBFS(A).
    """

    @property
    def is_live(self) -> bool:
        """False for recordings, which end and may be fed faster than real time."""
        return self.input.startswith(("mic:", "command:"))


class HealthSettings(Settings):
    """Limits at which a source counts as unhealthy, and as healthy again."""

    hold_seconds: Annotated[float, Field(ge=1, le=3600)] = 10.0
    """A problem is reported once it has lasted this long."""

    clear_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """A problem is cleared once it has been absent for this long."""

    no_signal_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    """A source in which nothing but the last bit of 16 changes is reported after this
    long.  Longer than the others: the noise of a microphone is nearly as faint.
    """

    deaf_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """A source that is not being listened to is reported as deaf after this long."""

    noise_floor_fall_db: Annotated[float, Field(ge=3, le=100)] = 12.0
    """A microphone whose noise floor falls this far below the quietest hours of the
    last day counts as covered.
    """

    ignore: Annotated[tuple[HealthKind, ...], Field(strict=False)] = ()
    """Kinds that are never reported, such as dead-channel for a mono microphone on a
    stereo input.
    """


class LevelSettings(Settings):
    """What is measured of the level, beside what is always kept of each hour."""

    third_octaves: bool = False
    """Keep the level of each third octave from 25 Hz to 16 kHz, hour by hour; a source
    takes about a tenth more processor time.
    """


CanaryLabel = Literal["siren", "dog_bark", "drilling", "car_horn"]
"""The sounds that the program can synthesise, the most reliable first."""


class CanarySettings(Settings):
    """A self-test: a known sound in a copy of the input must be detected."""

    every_seconds: Annotated[float, Field(ge=60, le=604_800)] | None = 3600.0
    """Interval of the test for each live source, which is also tested soon after the
    start; null: never.
    """

    label: CanaryLabel | None = None
    """siren, dog_bark, drilling or car_horn; null: the first of them that the model and
    the rules can detect.
    """
