"""Samples as bytes: raw PCM, and WAV as programs write it to a pipe.

libsndfile cannot read such WAV: the header has no length, or a huge one, and a program
may begin a new header midway.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.audio.ring import Samples
from monitor.audio.sources.source import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS
from monitor.errors import SourceError

Encoding = Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"]

_BYTES: dict[Encoding, int] = {
    "u8": 1,
    "s16le": 2,
    "s24le": 3,
    "s32le": 4,
    "f32le": 4,
    "f64le": 8,
}
_INTEGER, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WAV_ENCODINGS: dict[tuple[int, int], Encoding] = {
    (_INTEGER, 8): "u8",
    (_INTEGER, 16): "s16le",
    (_INTEGER, 24): "s24le",
    (_INTEGER, 32): "s32le",
    (_FLOAT, 32): "f32le",
    (_FLOAT, 64): "f64le",
}
_MAGIC = (b"RIFF", b"RF64", b"BW64")
_OTHER_FORMATS = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"FORM": "AIFF",
    b"RIFX": "big-endian WAV",
    b".snd": "AU",
    b"caff": "CAF",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
}
"""First bytes of formats that would be analysed as noise if taken for raw PCM."""

_LONGEST_FORMAT = 256
_LONGEST_NOTES = 2**26

UNSURE_LENGTH = 0x7FFF_0000
"""Least length that is a placeholder of a program that does not know it.

arecord writes so many bytes and then a new header; sox and ffmpeg never stop.
"""


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """The format of samples as bytes: interleaved, little-endian."""

    sample_rate: int
    channels: int
    encoding: Encoding

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return _BYTES[self.encoding] * self.channels


class PcmDecoder:
    """Decodes a stream of bytes that is cut anywhere.  Not thread-safe."""

    def __init__(self, pcm_format: PcmFormat) -> None:
        self._format = pcm_format
        self._rest = b""

    def push(self, data: bytes) -> Samples:
        """Decode the bytes that follow; half a sample waits for its other half.

        Returns:
            float32, shape (channels, n), n may be 0; integers lie in [-1, 1).
        """
        data = self._rest + data
        whole = len(data) - len(data) % self._format.frame_bytes
        self._rest = data[whole:]
        flat = _decode(data[:whole], self._format.encoding)
        return np.ascontiguousarray(flat.reshape(-1, self._format.channels).T)


def _decode(data: bytes, encoding: Encoding) -> Samples:
    if encoding == "u8":
        return _scaled(np.frombuffer(data, np.uint8), 7) - np.float32(1)
    if encoding == "s16le":
        return _scaled(np.frombuffer(data, "<i2"), 15)
    if encoding == "s24le":
        # In the upper three bytes of an integer the sign comes by itself.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return _scaled(wide.view("<i4")[:, 0], 31)
    if encoding == "s32le":
        return _scaled(np.frombuffer(data, "<i4"), 31)
    with np.errstate(over="ignore"):  # too large becomes infinite: invalid
        width = _BYTES[encoding]
        return np.frombuffer(data, f"<f{width}").astype(np.float32)


def _scaled(integers: NDArray[np.integer[Any]], bits: int) -> Samples:
    return integers.astype(np.float32) / np.float32(2**bits)


Decoded = tuple[PcmFormat, Samples]
"""Samples, float32 of shape (channels, n), n > 0; and the format that they had."""


class WavOrRawDecoder:
    """Decodes the output of a command: WAV if it begins like WAV, else raw PCM.

    One WAV may follow another, in the same format or not; whatever stands between the
    samples of one and the header of the next is left out.  The bytes may be cut
    anywhere.  Not thread-safe.
    """

    def __init__(self, raw: PcmFormat) -> None:
        self._format = raw
        self._bytes = b""  # not decoded yet
        self._step: Callable[[list[Decoded]], bool] = self._read_beginning
        self._decoder = PcmDecoder(raw)
        self._left: float = 0  # bytes of samples to come
        self._skip = 0  # bytes of a chunk without samples to come
        self._junk = 0  # bytes since the samples that belong to nothing
        self._has_format = self._has_padding = False

    def push(self, data: bytes) -> list[Decoded]:
        """Decode the bytes that follow; return the samples that are complete.

        Raises:
            SourceError: A header is invalid, or there is no end of other bytes.
        """
        self._bytes += data
        blocks: list[Decoded] = []
        while self._bytes and self._step(blocks):
            pass
        return blocks

    # Each step takes some of the bytes; it returns False if it needs more of them.

    def _read_beginning(self, _blocks: list[Decoded]) -> bool:
        others = (magic.startswith(self._bytes) for magic in _OTHER_FORMATS)
        if _is_begun_header(self._bytes) or (len(self._bytes) < 4 and any(others)):
            return False
        for magic, name in _OTHER_FORMATS.items():
            if self._bytes.startswith(magic):
                raise SourceError(
                    f"it writes {name}, and only WAV and raw PCM are read from a "
                    "program; with ffmpeg, use '-f wav -'"
                )
        if not self._take_header():
            self._left = inf
            self._step = self._read_raw
        return True

    def _read_raw(self, blocks: list[Decoded]) -> bool:
        self._decode(len(self._bytes), blocks)
        return False

    def _read_chunk(self, _blocks: list[Decoded]) -> bool:
        """Read a chunk before the samples."""
        if self._take_skipped():
            return True
        if len(self._bytes) < 8:
            return False
        name, size = struct.unpack_from("<4sI", self._bytes)
        if name == b"data":
            if not self._has_format:
                raise SourceError("its WAV header has no format before the samples")
            self._take(8)
            # A program that writes 0 means to correct it later; a pipe cannot go back.
            self._left = size if 0 < size < UNSURE_LENGTH else inf
            self._has_padding = size % 2 == 1
            self._decoder = PcmDecoder(self._format)
            self._step = self._read_samples
        elif name == b"fmt ":
            if not 16 <= size <= _LONGEST_FORMAT:
                raise SourceError("its WAV header is damaged")
            if len(self._bytes) < 8 + size:
                return False
            self._format = _parse_format(self._take(8 + size)[8:])
            self._has_format = True
        elif size > _LONGEST_NOTES:
            raise SourceError("its WAV header is damaged")
        else:
            self._take(8)
            self._skip = size + size % 2
        return True

    def _read_samples(self, blocks: list[Decoded]) -> bool:
        """Decode up to the length that was stated, or up to a new header before it."""
        known = int(min(self._left, len(self._bytes)))
        header = _find_header(self._bytes)
        if 0 <= header < known:
            self._decode(header, blocks)
            self._take_header()
            return True
        if known < self._left:
            known -= _begun_header(self._bytes)
        self._decode(known, blocks)
        if self._left:
            return False
        self._junk = 0
        self._step = self._read_next
        return True

    def _read_next(self, _blocks: list[Decoded]) -> bool:
        """Read what follows the samples: padding, notes, the next WAV."""
        if self._take_skipped():
            return True
        if self._has_padding and self._bytes[0] == 0:
            self._take(1)
            self._has_padding = False
            return True
        if _is_begun_header(self._bytes) or len(self._bytes) < 8:
            return False
        if self._take_header():
            return True
        name, size = struct.unpack_from("<4sI", self._bytes)
        if name.isascii() and name.decode().isprintable() and size <= _LONGEST_NOTES:
            self._take(8)
            self._skip = size + size % 2
        else:
            self._step = self._search_header
        return True

    def _search_header(self, _blocks: list[Decoded]) -> bool:
        header = _find_header(self._bytes)
        end = len(self._bytes) - _begun_header(self._bytes)
        self._junk += len(self._take(end if header < 0 else header))
        if self._junk > self._format.frame_bytes * self._format.sample_rate:
            raise SourceError(
                "it goes on after the samples that its WAV header announced, without a "
                "new header; have it write raw PCM, or a header without a length"
            )
        return self._take_header()

    def _decode(self, count: int, blocks: list[Decoded]) -> None:
        self._left -= count
        samples = self._decoder.push(self._take(count))
        if samples.shape[1]:
            blocks.append((self._format, samples))

    def _take_skipped(self) -> bool:
        skipped = len(self._take(self._skip))
        self._skip -= skipped
        return skipped > 0

    def _take_header(self) -> bool:
        """Take the beginning of a WAV, if it is next."""
        if _find_header(self._bytes[:12]) != 0:
            return False
        self._take(12)
        self._has_format = False
        self._step = self._read_chunk
        return True

    def _take(self, count: int) -> bytes:
        taken, self._bytes = self._bytes[:count], self._bytes[count:]
        return taken


def _find_header(data: bytes) -> int:
    """Place of the first header of a WAV, twelve bytes; -1 if there is none."""
    place = data.find(b"WAVE", 8)
    while place >= 0 and data[place - 8 : place - 4] not in _MAGIC:
        place = data.find(b"WAVE", place + 1)
    return place - 8 if place >= 0 else -1


def _is_begun_header(data: bytes) -> bool:
    """Return True if `data` may become a header with more bytes."""
    return (
        len(data) < 12
        and any(magic.startswith(data[:4]) for magic in _MAGIC)
        and b"WAVE".startswith(data[8:])
    )


def _begun_header(data: bytes) -> int:
    """Number of bytes at the end of `data` that may begin a header."""
    ends = range(min(len(data), 11), 0, -1)
    return next((count for count in ends if _is_begun_header(data[-count:])), 0)


def _parse_format(chunk: bytes) -> PcmFormat:
    tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    encoding = _WAV_ENCODINGS.get((tag, bits))
    if encoding is None:
        raise SourceError(
            f"its WAV encoding (format {tag}, {bits} bits) is not supported; have it "
            "write 16-, 24- or 32-bit integers or floats"
        )
    if not (LOWEST_RATE <= rate <= HIGHEST_RATE and 1 <= channels <= MOST_CHANNELS):
        raise SourceError(
            f"its WAV header says {rate} samples a second in {channels} channels; "
            f"{LOWEST_RATE} to {HIGHEST_RATE} in 1 to {MOST_CHANNELS} are supported"
        )
    pcm_format = PcmFormat(rate, channels, encoding)
    if frame_bytes != pcm_format.frame_bytes:
        raise SourceError("its WAV header is damaged")
    return pcm_format
