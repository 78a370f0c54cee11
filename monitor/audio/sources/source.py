"""The interface of a source to its capture thread, and the source of an input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from monitor.audio.ring import Samples
    from monitor.config.audio import SourceSettings
    from monitor.records import GapReason

LOWEST_RATE = 8_000
HIGHEST_RATE = 192_000
"""Samples a second that are supported."""

MOST_CHANNELS = 64

STALL_SECONDS = 2.0
"""Silence after which a source of this machine is opened again."""

_DEFAULT_RATE = 44_100
"""Samples a second of raw PCM and of the demo scene."""

Speed = Literal["realtime", "max"]
"""A recording plays at its own rate, or as fast as its reader takes it."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Samples that the source itself knows to be lost, at its own rate."""

    count: int

    reason: "GapReason" = "overrun"


class SourceStream(Protocol):
    """An open source.  Used and closed by one thread."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of the latest block of samples; it may change."""

    @property
    def channels(self) -> int:
        """Channels of the latest block of samples; they may change."""

    def read(self, timeout_seconds: float) -> "Samples | Lost | None":
        """Wait for the next block.

        Returns:
            float32, shape (channels, n), nominally in [-1, 1], but unchecked; the loss
            before the next block; or None, if nothing came in time.

        Raises:
            EndOfSourceError: The source has ended; there is nothing more to read.
            SourceError: The source broke.  Close this stream; a new one may work.
            AudioFileError: The rest of a recording cannot be read.
        """

    def close(self) -> None:
        """End the stream and free its process or file, in a second at most."""


class Source(Protocol):
    """A microphone, file, command or scene that can be opened again and again."""

    @property
    def description(self) -> str:
        """Name for people: "microphone 'default'"."""

    @property
    def opening_seconds(self) -> float:
        """Longest time from `open` to the first samples."""

    @property
    def stall_seconds(self) -> float:
        """Silence after which it is opened again, unless the settings say another."""

    def open(self) -> SourceStream:
        """Open the source; returns at once, also if the first samples take a while.

        Raises:
            SourceError: Not now; trying again may help.
            AudioFileError: The recording cannot be read.
        """


def build_source(
    settings: "SourceSettings",
    speed: Speed,
    now: Callable[[], float],
    read_password: Callable[[], str] | None = None,
) -> Source:
    """Build the source that `settings.input` names; a microphone may be absent.

    `read_password` returns the password of the settings, if they have one.

    Raises:
        UsageError: The input is impossible: a missing file or command, a device number.
        AudioFileError: The file is not a recording, or an empty one.
    """
    # Imported here: `check` lists the devices without numpy, which takes its time.
    kind, _, name = settings.input.partition(":")
    rate = settings.sample_rate or _DEFAULT_RATE
    if kind == "mic":
        from monitor.audio.sources.microphone import Microphone

        return Microphone(name, settings.sample_rate, settings.channels)
    if kind == "command":
        from monitor.audio.sources.command import Command
        from monitor.audio.sources.pcm import PcmFormat

        raw = PcmFormat(rate, settings.channels or 1, settings.sample_format)
        return Command(name, raw)
    if kind == "udp":
        from monitor.audio.sources.udp import Udp

        return Udp(settings.input, rate, settings.channels or 1)
    if kind not in ("file", "demo"):
        from monitor.audio.sources.network import Network

        return Network(settings, read_password)
    from monitor.audio.sources.file import Demo, File

    return Demo(rate, speed, now) if kind == "demo" else File(name, speed, now)
