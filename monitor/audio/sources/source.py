"""What a source of samples is, to the thread that captures it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from monitor.audio.ring import Samples

LOWEST_RATE = 8_000
HIGHEST_RATE = 192_000
"""Samples a second that can be captured."""

MOST_CHANNELS = 64


@dataclass(frozen=True, slots=True)
class Lost:
    """Samples that the source itself knows to have lost, at its own rate."""

    count: int


class SourceStream(Protocol):
    """An open source.  Used and closed by one thread."""

    @property
    def sample_rate(self) -> int:
        """Samples a second; known once `read` has returned samples."""

    @property
    def channels(self) -> int:
        """Channels of what `read` returns; known once it has returned samples."""

    def read(self, timeout_seconds: float) -> "Samples | Lost | None":
        """Wait for the next block.

        Returns:
            float32, shape (channels, n), nominally in [-1, 1], but unchecked; what was
            lost before the next block; or None, if nothing came in time.

        Raises:
            EndOfSourceError: The source is over; there is nothing more to read.
            SourceError: The source broke.  Close this stream; a new one may work.
            AudioFileError: The rest of a recording cannot be read.
        """

    def close(self) -> None:
        """End the stream and free its process or file, in a second at most."""


class Source(Protocol):
    """Something that can be listened to, again and again."""

    @property
    def description(self) -> str:
        """What the source is, for people: "microphone 'default'"."""

    @property
    def live(self) -> bool:
        """False for a recording: it ends, and may wait for who listens to it."""

    @property
    def opening_seconds(self) -> float:
        """How long a new stream may take until its first samples."""

    def open(self) -> SourceStream:
        """Begin to listen; returns at once, also if the first samples take a while.

        Raises:
            SourceError: Not now; trying again may help.
            AudioFileError: The recording cannot be read.
        """
