"""From bytes to samples: PCM in the encodings that sound cards and programs write."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from monitor.audio.ring import Samples

Encoding = Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le"]

_BYTES: dict[Encoding, int] = {
    "u8": 1,
    "s16le": 2,
    "s24le": 3,
    "s32le": 4,
    "f32le": 4,
    "f64le": 8,
}

# float32, so that the results are, too.
_ONE = np.float32(1)
_SCALE_8 = np.float32(2**7)
_SCALE_16 = np.float32(2**15)
_SCALE_32 = np.float32(2**31)


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """How samples are written as bytes: interleaved, little-endian."""

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
        """Decode the bytes that follow; one sample's first half waits for the second.

        Returns:
            float32, shape (channels, n), n may be 0; integers lie in [-1, 1).
        """
        data = self._rest + data
        whole = len(data) - len(data) % self._format.frame_bytes
        self._rest = data[whole:]
        flat = _decode(data[:whole], self._format.encoding)
        return np.ascontiguousarray(flat.reshape(-1, self._format.channels).T)


def _decode(data: bytes, encoding: Encoding) -> Samples:
    match encoding:
        case "u8":
            return np.frombuffer(data, np.uint8).astype(np.float32) / _SCALE_8 - _ONE
        case "s16le":
            return np.frombuffer(data, "<i2").astype(np.float32) / _SCALE_16
        case "s24le":
            # In the upper three bytes of an integer the sign comes by itself.
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return wide.view("<i4")[:, 0].astype(np.float32) / _SCALE_32
        case "s32le":
            return np.frombuffer(data, "<i4").astype(np.float32) / _SCALE_32
        case "f32le":
            return np.frombuffer(data, "<f4").astype(np.float32)
        case "f64le":
            with np.errstate(over="ignore"):  # too large becomes infinite: invalid
                return np.frombuffer(data, "<f8").astype(np.float32)
