"""WAV and raw PCM as bytes, encoded one sample at a time by plain arithmetic."""

import struct
from collections.abc import Iterable, Sequence

ENCODINGS = ("u8", "s16le", "s24le", "s32le", "f32le", "f64le")

_SUBFORMAT_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_BITS = {"u8": 8, "s16le": 16, "s24le": 24, "s32le": 32, "f32le": 32, "f64le": 64}


def encode(values: Iterable[float], encoding: str) -> bytes:
    """Encode values in [-1, 1) in their order."""
    return b"".join(_encode_one(value, encoding) for value in values)


def _encode_one(value: float, encoding: str) -> bytes:
    match encoding:
        case "u8":
            return struct.pack("B", round(value * 2**7) + 2**7)
        case "s16le":
            return struct.pack("<h", round(value * 2**15))
        case "s24le":
            return round(value * 2**23).to_bytes(3, "little", signed=True)
        case "s32le":
            return struct.pack("<i", round(value * 2**31))
        case "f32le":
            return struct.pack("<f", value)
        case _:
            return struct.pack("<d", value)


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a RIFF chunk with its true length."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def wav(
    data: bytes,
    *,
    rate: int = 44_100,
    channels: int = 1,
    encoding: str = "s16le",
    length: int | None = None,
    extensible: bool = False,
    before: Sequence[bytes] = (),
    after: bytes = b"",
    magic: bytes = b"RIFF",
) -> bytes:
    """Return a WAV stream.

    Args:
        data: The encoded samples.
        rate: Samples a second.
        channels: Channels.
        encoding: One of `ENCODINGS`.
        length: Length of `data` in the header; None for the true one.
        extensible: Whether the format is written as WAVE_FORMAT_EXTENSIBLE.
        before: Chunks before the samples.
        after: Bytes after the samples.
        magic: First four bytes.
    """
    bits = _BITS[encoding]
    tag = 3 if encoding.startswith("f") else 1
    frame = bits // 8 * channels
    body = struct.pack(
        "<HHIIHH",
        0xFFFE if extensible else tag,
        channels,
        rate,
        rate * frame,
        frame,
        bits,
    )
    if extensible:
        body += struct.pack("<HHIH", 22, bits, 0, tag) + _SUBFORMAT_TAIL
    stated = len(data) if length is None else length
    parts = [
        b"WAVE",
        chunk(b"fmt ", body),
        *before,
        b"data" + struct.pack("<I", stated),
    ]
    whole = b"".join([*parts, data, b"\0" * (len(data) % 2), after])
    return magic + struct.pack("<I", len(whole) & 0xFFFF_FFFF) + whole
