"""WAV as programs write it to a pipe: lengths unknown, more than one header, extras."""

import struct
from dataclasses import dataclass

import numpy as np

from monitor.audio.ring import Samples
from monitor.audio.sources.pcm import Encoding, PcmDecoder, PcmFormat
from monitor.audio.sources.source import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS
from monitor.errors import SourceError

_INTEGER, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_ENCODINGS: dict[tuple[int, int], Encoding] = {
    (_INTEGER, 8): "u8",
    (_INTEGER, 16): "s16le",
    (_INTEGER, 24): "s24le",
    (_INTEGER, 32): "s32le",
    (_FLOAT, 32): "f32le",
    (_FLOAT, 64): "f64le",
}
_MAGIC = (b"RIFF", b"RF64", b"BW64")
_LONGEST_HEADER = 16 * 2**20
"""Bytes; a picture of an album fits into it."""

_LONGEST_FORMAT = 256
_MOST_CHUNKS = 1000

UNSURE_LENGTH = 0x7FFF_0000
"""From here on, a length is what a program writes that does not know it.

arecord writes so many bytes and then a new header; sox and ffmpeg never stop.
"""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What stands before the samples."""

    pcm_format: PcmFormat
    data_start: int
    """Bytes of the header: where the samples begin."""

    data_bytes: int
    """What the header says of the length of the samples; may be a lie."""

    @property
    def says_length(self) -> bool:
        """Whether the length is meant: not 0, and not a huge one."""
        return 0 < self.data_bytes < UNSURE_LENGTH


def is_wav(beginning: bytes) -> bool | None:
    """Whether a stream that begins so is WAV; None if it is too short to tell."""
    if len(beginning) >= 12:
        return beginning[:4] in _MAGIC and beginning[8:12] == b"WAVE"
    possible = any(magic.startswith(beginning[:4]) for magic in _MAGIC)
    return None if possible else False


def parse_header(beginning: bytes) -> WavHeader | None:
    """Read the header of a WAV file or stream; None if some of it is still missing.

    Raises:
        SourceError: The header makes no sense, or its encoding is not supported.
    """
    position = 12
    pcm_format = None
    for _ in range(_MOST_CHUNKS):
        if len(beginning) < position + 8:
            return None
        name, size = struct.unpack_from("<4sI", beginning, position)
        position += 8
        if name == b"data":
            if pcm_format is None:
                raise SourceError("its WAV header has no format before the samples")
            return WavHeader(pcm_format, position, size)
        if name == b"fmt ":
            if size > _LONGEST_FORMAT:
                raise SourceError("its WAV header is damaged")
            if len(beginning) < position + size:
                return None
            pcm_format = _parse_format(beginning[position : position + size])
        position += size + size % 2
        if position > _LONGEST_HEADER:
            raise SourceError("its WAV header has no samples in its first 16 MiB")
    raise SourceError(
        f"its WAV header has no samples in its first {_MOST_CHUNKS} parts"
    )


def _parse_format(chunk: bytes) -> PcmFormat:
    if len(chunk) < 16:
        raise SourceError("its WAV header is damaged")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    encoding = _ENCODINGS.get((tag, bits))
    if encoding is None:
        raise SourceError(
            f"its WAV encoding (format {tag}, {bits} bits) is not supported; have it "
            "write 16-, 24- or 32-bit integers or floats"
        )
    known_rate = LOWEST_RATE <= rate <= HIGHEST_RATE
    if not known_rate or not 1 <= channels <= MOST_CHANNELS:
        raise SourceError(
            f"its WAV header says {rate} samples a second in {channels} channels; "
            f"{LOWEST_RATE} to {HIGHEST_RATE} in 1 to {MOST_CHANNELS} can be heard"
        )
    pcm_format = PcmFormat(rate, channels, encoding)
    if frame_bytes != pcm_format.frame_bytes:
        raise SourceError("its WAV header is damaged")
    return pcm_format


class WavOrRawDecoder:
    """Decodes what a command writes: WAV if it begins like WAV, else raw PCM.

    The bytes may be cut anywhere.  Not thread-safe.
    """

    def __init__(self, raw: PcmFormat) -> None:
        self.pcm_format: PcmFormat | None = None
        """How the samples are written; None until enough bytes have come."""

        self._raw = raw
        self._head = b""  # bytes of which it is not yet known what they are
        self._decoder: PcmDecoder | None = None
        self._left: int | None = None  # bytes of samples to come; None: endless
        self._header: WavHeader | None = None

    def push(self, data: bytes) -> Samples | None:
        """Decode the bytes that follow.

        Returns:
            float32, shape (channels, n); None while there is no whole sample.

        Raises:
            SourceError: The header makes no sense, or changes the format midway.
        """
        self._head += data
        blocks = []
        while self._head:
            if self._decoder is None and not self._begin():
                break
            assert self._decoder is not None
            part = self._head if self._left is None else self._head[: self._left]
            self._head = self._head[len(part) :]
            blocks.append(self._decoder.push(part))
            if self._left is not None:
                self._left -= len(part)
                if self._left == 0:
                    self._decoder = None
        samples = np.concatenate(blocks, axis=1) if blocks else None
        return samples if samples is not None and samples.shape[1] else None

    def _begin(self) -> bool:
        """Find out what `_head` begins with; False if more of it is needed."""
        wav = is_wav(self._head)
        if wav is None:
            return False
        if wav:
            return self._begin_wav()
        if self._header is None:
            self._begin_samples(self._raw, None)
        elif not self._header.says_length:
            self._begin_samples(self._header.pcm_format, None)
        else:
            self._head = b""  # notes after the samples
            return False
        return True

    def _begin_wav(self) -> bool:
        header = parse_header(self._head)
        if header is None:
            return False
        if self.pcm_format not in (None, header.pcm_format):
            raise SourceError("its WAV format changed midway")
        self._header = header
        self._head = self._head[header.data_start :]
        # Zero is written by who will come back to the header, and cannot on a pipe.
        self._begin_samples(header.pcm_format, header.data_bytes or None)
        return True

    def _begin_samples(self, pcm_format: PcmFormat, count: int | None) -> None:
        self.pcm_format = pcm_format
        self._decoder = PcmDecoder(pcm_format)
        self._left = count
