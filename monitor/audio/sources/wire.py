"""The pipe between the capture child and the monitor: a header, then blocks.

Only the standard library, because the child has to start quickly.
"""

import struct
from dataclasses import dataclass

_HEADER = struct.Struct("=4sII")
_MAGIC = b"PCM1"
_BLOCK = struct.Struct("=II")
"""Header of a block: samples per channel in it, and lost before it."""

SAMPLE_BYTES = 4
"""float32, as this machine writes it, interleaved."""

_MOST_CHANNELS = 1024
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 1_000_000
_LONGEST_BLOCK_BYTES = 2**24
_LONGEST_LOSS_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class PipeHeader:
    """The format of the samples; the first bytes of the pipe."""

    sample_rate: int
    channels: int

    def encode(self) -> bytes:
        """Write the header as bytes."""
        return _HEADER.pack(_MAGIC, self.sample_rate, self.channels)


@dataclass(frozen=True, slots=True)
class PipeBlock:
    """Consecutive samples, and the loss before them."""

    lost: int
    """Samples lost, of each channel."""

    data: bytes
    """float32, interleaved."""


def encode_block(lost: int, data: bytes, channels: int) -> bytes:
    """Frame one block for the pipe."""
    return _BLOCK.pack(len(data) // (SAMPLE_BYTES * channels), lost) + data


class PipeParser:
    """Parses the bytes of the pipe, cut anywhere."""

    def __init__(self) -> None:
        self.header: PipeHeader | None = None
        """Header; None until it is complete."""

        self._bytes = b""

    def push(self, data: bytes) -> list[PipeBlock]:
        """Return the blocks that `data` completes.

        Raises:
            ValueError: The bytes were not written by a capture child.
        """
        self._bytes += data
        position = 0
        if self.header is None:
            if len(self._bytes) < _HEADER.size:
                return []
            self.header = _header(self._bytes)
            position = _HEADER.size
        frame_bytes = self.header.channels * SAMPLE_BYTES
        most_lost = self.header.sample_rate * _LONGEST_LOSS_SECONDS
        blocks = []
        while position + _BLOCK.size <= len(self._bytes):
            count, lost = _BLOCK.unpack_from(self._bytes, position)
            if count * frame_bytes > _LONGEST_BLOCK_BYTES or lost > most_lost:
                raise ValueError("not a block")
            start = position + _BLOCK.size
            stop = start + count * frame_bytes
            if stop > len(self._bytes):
                break
            blocks.append(PipeBlock(lost, self._bytes[start:stop]))
            position = stop
        self._bytes = self._bytes[position:]
        return blocks


def _header(data: bytes) -> PipeHeader:
    magic, rate, channels = _HEADER.unpack_from(data)
    is_possible = (
        _LOWEST_RATE <= rate <= _HIGHEST_RATE and 1 <= channels <= _MOST_CHANNELS
    )
    if magic != _MAGIC or not is_possible:
        raise ValueError("not a header")
    return PipeHeader(rate, channels)
