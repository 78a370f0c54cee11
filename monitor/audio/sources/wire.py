"""What passes between the capture child and the monitor: a header, then blocks.

Only the standard library, because the child has to start quickly.
"""

import json
import struct
from dataclasses import asdict, dataclass

_BLOCK = struct.Struct("=II")
"""Before each block: its samples, and the samples lost before it, of one channel."""

SAMPLE_BYTES = 4
"""float32, as this machine writes it, interleaved."""

_LONGEST_HEADER = 10_000
_MOST_CHANNELS = 1024
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 1_000_000
_LONGEST_BLOCK_BYTES = 2**24
_LONGEST_LOSS_SECONDS = 86_400

# A sound card that is slow by a thousandth, and none is so slow, would otherwise seem
# to be later and later.
_DRIFT = 1e-3


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A device that sound can be captured from."""

    name: str
    """As PortAudio tells it; `mic:` takes any part of it."""

    host_api: str
    """ALSA, Core Audio, ..."""

    channels: int
    """Most that it delivers."""

    sample_rate: float
    """What it prefers, samples a second."""

    is_default: bool
    stable_id: str | None
    """Stays the same when other devices come and go: hw:CARD=...,DEV=0; ALSA only."""


@dataclass(frozen=True, slots=True)
class PipeHeader:
    """The first line that the child writes: what it captures."""

    sample_rate: int
    channels: int
    device: str

    def encode(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "PipeHeader":
        """Read what `encode` wrote.

        Raises:
            ValueError: Something else wrote it.
        """
        try:
            fields = json.loads(line)
        except RecursionError as error:
            raise ValueError("no header") from error
        match fields:
            case {"sample_rate": int(rate), "channels": int(channels), "device": str()}:
                fits = 1 <= channels <= _MOST_CHANNELS
                if fits and _LOWEST_RATE <= rate <= _HIGHEST_RATE and len(fields) == 3:
                    return cls(**fields)
        raise ValueError("no header")


@dataclass(frozen=True, slots=True)
class PipeBlock:
    """Consecutive samples, and what was lost before them."""

    lost: int
    """Samples lost, of each channel."""

    data: bytes
    """float32, interleaved."""


def encode_block(lost: int, data: bytes, channels: int) -> bytes:
    """Frame one block for the pipe."""
    return _BLOCK.pack(len(data) // (SAMPLE_BYTES * channels), lost) + data


class PipeParser:
    """Takes the bytes of the pipe, cut anywhere, apart."""

    def __init__(self) -> None:
        self.header: PipeHeader | None = None
        """None until its line is complete."""

        self._waiting = b""

    def push(self, data: bytes) -> list[PipeBlock]:
        """Return the blocks that `data` completes.

        Raises:
            ValueError: The bytes were not written by a capture child.
        """
        self._waiting += data
        if self.header is None:
            line, newline, rest = self._waiting.partition(b"\n")
            if not newline:
                if len(line) > _LONGEST_HEADER:
                    raise ValueError("no header")
                return []
            self.header = PipeHeader.decode(line)
            self._waiting = rest
        return self._blocks(self.header)

    def _blocks(self, header: PipeHeader) -> list[PipeBlock]:
        frame_bytes = header.channels * SAMPLE_BYTES
        most_lost = header.sample_rate * _LONGEST_LOSS_SECONDS
        blocks = []
        position = 0
        while position + _BLOCK.size <= len(self._waiting):
            count, lost = _BLOCK.unpack_from(self._waiting, position)
            if count * frame_bytes > _LONGEST_BLOCK_BYTES or lost > most_lost:
                raise ValueError("no block")
            start = position + _BLOCK.size
            if start + count * frame_bytes > len(self._waiting):
                break
            position = start + count * frame_bytes
            blocks.append(PipeBlock(lost, self._waiting[start:position]))
        self._waiting = self._waiting[position:]
        return blocks


class OverflowMeter:
    """Finds out how much was lost when PortAudio says only that something was.

    Without loss, a block comes when the samples before it and its own have been sound,
    plus a delay that varies.  An overflow makes all later blocks come later by what was
    lost; the least delay seen before it is the measure.
    """

    def __init__(self, sample_rate: float) -> None:
        self._rate = sample_rate
        self._position = 0
        self._least_delay: float | None = None
        self._at = 0.0

    def lost_before(self, count: int, at: float, *, overflow: bool) -> int:
        """Take note of a block; return how many samples were lost before it.

        Args:
            count: Samples of the block, of each channel.
            at: Monotonic seconds at which it came.
            overflow: Whether PortAudio says that samples before it were lost.
        """
        self._position += count
        delay = at - self._position / self._rate
        if self._least_delay is None:
            self._least_delay = delay
        expected = self._least_delay + _DRIFT * (at - self._at)
        self._at = at
        lost = max(0, round((delay - expected) * self._rate)) if overflow else 0
        self._position += lost
        self._least_delay = min(expected, delay)
        return lost
