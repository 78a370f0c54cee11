"""Samples as bytes: raw PCM, and WAV as programs write it to a pipe.

libsndfile cannot read such WAV: the header has no length, or a huge one, and a program
may begin a new header midway.
"""

import struct
from dataclasses import dataclass
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
_LONGEST_FORMAT = 256

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


class WavOrRawDecoder:
    """Decodes the output of a command: WAV if it begins like WAV, else raw PCM.

    The bytes may be cut anywhere.  Not thread-safe.
    """

    def __init__(self, raw: PcmFormat) -> None:
        self.pcm_format: PcmFormat | None = None
        """Format of the samples; None until enough bytes have come."""

        self._raw = raw
        self._bytes = b""  # not decoded yet
        self._decoder: PcmDecoder | None = None  # None: in a header
        self._in_wav = False
        self._is_length_known = False
        self._left: float = 0  # bytes of samples to come
        self._skip = 0  # bytes of a chunk without samples to come

    def push(self, data: bytes) -> Samples | None:
        """Decode the bytes that follow.

        Returns:
            float32, shape (channels, n); None while there is no whole sample.

        Raises:
            SourceError: The header is invalid, or changes the format midway.
        """
        self._bytes += data
        blocks = []
        while self._bytes:
            if self._decoder is not None:
                part = self._take(min(self._left, len(self._bytes)))
                self._left -= len(part)
                blocks.append(self._decoder.push(part))
                if self._left == 0:
                    self._decoder, self._in_wav = None, False
            elif not self._read_header():
                break
        samples = np.concatenate(blocks, axis=1) if blocks else None
        return samples if samples is not None and samples.shape[1] else None

    def _read_header(self) -> bool:
        """Read a piece of a header; False if more bytes are needed."""
        skipped = len(self._take(min(self._skip, len(self._bytes))))
        self._skip -= skipped
        if skipped:
            return True
        return self._read_chunk() if self._in_wav else self._find_beginning()

    def _find_beginning(self) -> bool:
        """Find out whether a WAV header comes next."""
        beginning = self._bytes[:4]
        if len(self._bytes) < 12 and any(it.startswith(beginning) for it in _MAGIC):
            return False
        if beginning in _MAGIC and self._bytes[8:12] == b"WAVE":
            self._take(12)
            self._in_wav = True
        elif self._is_length_known:
            self._bytes = b""  # notes after the samples
        else:
            self._begin_samples(self.pcm_format or self._raw, float("inf"))
        return True

    def _read_chunk(self) -> bool:
        if len(self._bytes) < 8:
            return False
        name, size = struct.unpack_from("<4sI", self._bytes)
        if name == b"data":
            if self.pcm_format is None:
                raise SourceError("its WAV header has no format before the samples")
            self._take(8)
            self._is_length_known = 0 < size < UNSURE_LENGTH
            # A program that writes 0 means to correct it later; a pipe cannot go back.
            self._begin_samples(self.pcm_format, size or float("inf"))
        elif name == b"fmt ":
            if not 16 <= size <= _LONGEST_FORMAT:
                raise SourceError("its WAV header is damaged")
            if len(self._bytes) < 8 + size:
                return False
            pcm_format = _parse_format(self._take(8 + size)[8:])
            if self.pcm_format not in (None, pcm_format):
                raise SourceError("its WAV format changed midway")
            self.pcm_format = pcm_format
        else:
            self._take(8)
            self._skip = size + size % 2
        return True

    def _begin_samples(self, pcm_format: PcmFormat, count: float) -> None:
        self.pcm_format = pcm_format
        self._decoder = PcmDecoder(pcm_format)
        self._left = count

    def _take(self, count: float) -> bytes:
        taken, self._bytes = self._bytes[: int(count)], self._bytes[int(count) :]
        return taken


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
