"""Score frames in few bytes: about a minute of them as one blob.

A blob is one byte, the version, and zlib over little-endian numbers in this order, all
values of a label or a level together, for they change little from hop to hop:

    u8          labels
    u8          bytes of a span's number: 1, 2 or 4
    u32         samples of a span's unit
    u8 twice    scores: high bytes, then low bytes of differences in time, each of
                (labels, frames); a score of 1 is 65535
    u8/u16/u32  spans: first, then past-last unit, each of (labels, frames)
    i16         level_dbfs, peak_level_dbfs, laeq_db, each of (frames,), 0.01 dB

Scores are kept to 0.000008, levels to 0.005 dB, spans exactly.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.records import ScoreFrame

_VERSION = 1
_HEAD = struct.Struct("<BBI")
_SCORE_STEPS = 65_535
_LEVEL_STEPS = 100
_NO_LEVEL = -32_768
"""Stands for a level that is not a finite number."""

_LEVELS = 3
_MOST_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The contents of a blob."""

    scores: NDArray[np.float64]
    """(frames, labels), in [0, 1]."""

    spans: NDArray[np.int64]
    """(frames, labels, 2), samples since the start of each frame's window."""

    levels: NDArray[np.float64]
    """(frames, 3): level_dbfs, peak_level_dbfs, laeq_db."""


def is_next(before: ScoreFrame, after: ScoreFrame, hop_samples: int | None) -> bool:
    """Whether two frames can stand one after the other in a blob.

    Args:
        before: The last frame of the blob.
        after: The frame to come.
        hop_samples: Distance of the frames before; None while there is only one.
    """
    hop = after.start - before.start
    return (
        after.stop - after.start == before.stop - before.start
        and len(after.scores) == len(before.scores)
        and 0 < hop <= after.stop - after.start
        and hop_samples in (None, hop)
    )


def encode_frames(frames: Sequence[ScoreFrame]) -> bytes:
    """Encode frames of one source that follow each other, see `is_next`."""
    window = frames[0].stop - frames[0].start
    scores = np.array([frame.scores for frame in frames]).T  # (labels, frames)
    steps = np.rint(np.clip(scores, 0, 1) * _SCORE_STEPS).astype(np.uint16)
    changes = np.diff(steps, axis=1, prepend=np.uint16(0)).astype("<u2")
    starts = np.array([frame.start for frame in frames])
    spans = np.array([frame.spans for frame in frames]) - starts[:, None, None]
    unit, units = _to_units(spans.transpose(2, 1, 0), window)  # (2, labels, frames)
    parts = [
        _HEAD.pack(len(steps), units.dtype.itemsize, unit),
        (changes >> 8).astype(np.uint8).tobytes(),
        (changes & 0xFF).astype(np.uint8).tobytes(),
        units.tobytes(),
        _pack_levels(frames).tobytes(),
    ]
    return bytes([_VERSION]) + zlib.compress(b"".join(parts), 9)


def decode_table(data: bytes, frames: int, window_samples: int) -> ScoreTable:
    """Decode a blob.

    Raises:
        ValueError: It is damaged, or a newer program wrote it.
    """
    try:
        return _decode_table(data, frames, window_samples)
    except (struct.error, zlib.error, IndexError) as error:
        raise ValueError(f"a record of scores is damaged: {error}") from None


def decode_frames(
    source: str,
    start_sample: int,
    window_samples: int,
    hop_samples: int,
    frames: int,
    data: bytes,
) -> list[ScoreFrame]:
    """Decode a blob into the frames it was made of, within its precision.

    Raises:
        ValueError: See `decode_table`.
    """
    table = decode_table(data, frames, window_samples)
    decoded = []
    for index, (scores, spans, levels) in enumerate(
        zip(
            table.scores.tolist(),
            table.spans.tolist(),
            table.levels.tolist(),
            strict=True,
        )
    ):
        start = start_sample + index * hop_samples
        decoded.append(
            ScoreFrame(
                source,
                start,
                start + window_samples,
                tuple(scores),
                tuple((start + first, start + last) for first, last in spans),
                *levels,
            )
        )
    return decoded


def _to_units(
    spans: NDArray[np.int64], window: int
) -> tuple[int, NDArray[np.unsignedinteger]]:
    """Divide by what all borders share: columns of the network in almost all cases.

    The end of the window need not be a whole number of units; it is rounded up.
    """
    unit = int(np.gcd.reduce(spans[spans != window], axis=None)) or max(1, window)
    units = -(-spans // unit)
    most = int(units.max(initial=0))
    kind = "<u1" if most < 1 << 8 else "<u2" if most < 1 << 16 else "<u4"
    return unit, units.astype(kind)


def _pack_levels(frames: Sequence[ScoreFrame]) -> NDArray[np.int16]:
    levels = np.array(
        [(frame.level_dbfs, frame.peak_level_dbfs, frame.laeq_db) for frame in frames]
    ).T  # (3, frames)
    known = np.isfinite(levels)
    steps = np.rint(np.where(known, levels, 0) * _LEVEL_STEPS)
    steps = np.where(known, np.clip(steps, _NO_LEVEL + 1, -_NO_LEVEL - 1), _NO_LEVEL)
    return steps.astype("<i2")


def _decode_table(data: bytes, frames: int, window: int) -> ScoreTable:
    if data[0] != _VERSION:
        raise ValueError(f"a record of scores has version {data[0]}: update to read it")
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(data[1:], _MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("a record of scores is longer than any, or cut short")
    labels, width, unit = _HEAD.unpack_from(content)
    if frames < 1 or width not in (1, 2, 4):
        raise ValueError("a record of scores is damaged: its head makes no sense")
    each = labels * frames
    sizes = [_HEAD.size, each, each, 2 * each * width, 2 * _LEVELS * frames]
    if len(content) != sum(sizes):
        raise ValueError("a record of scores has another length than it should")
    _, high_end, low_end, span_end, _ = np.cumsum(sizes).tolist()
    high = np.frombuffer(content, np.uint8, each, _HEAD.size).astype(np.uint16)
    low = np.frombuffer(content, np.uint8, each, high_end)
    changes = (high << 8 | low).reshape(labels, frames)
    steps = np.cumsum(changes, axis=1, dtype=np.uint16)
    units = np.frombuffer(content, f"<u{width}", 2 * each, low_end)
    spans = np.minimum(units.reshape(2, labels, frames).astype(np.int64) * unit, window)
    levels = np.frombuffer(content, "<i2", _LEVELS * frames, span_end)
    return ScoreTable(
        steps.T / _SCORE_STEPS,
        spans.transpose(2, 1, 0),
        np.where(levels == _NO_LEVEL, np.nan, levels / _LEVEL_STEPS)
        .reshape(_LEVELS, frames)
        .T,
    )
