"""Score frames survive their compact form."""

import math
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.records import ScoreFrame
from monitor.sinks.store.scores import (
    decode_frames,
    decode_table,
    encode_frames,
    is_next,
)

WINDOW = 176_640
HOP = 24_576
COLUMN = 8192


@st.composite
def stretches(draw: st.DrawFn) -> list[ScoreFrame]:
    """Frames that follow each other, as the pipeline makes them."""
    labels = draw(st.integers(1, 12))
    unit = draw(st.sampled_from([1, 512, COLUMN]))
    columns = -(-WINDOW // unit)
    start = draw(st.integers(0, 10**12))
    frames = []
    for number in range(draw(st.integers(1, 20))):
        at = start + number * HOP
        borders = [
            sorted(draw(st.tuples(*[st.integers(0, columns)] * 2)))
            for _ in range(labels)
        ]
        levels = st.floats(-120, 130) | st.just(-math.inf)
        frames.append(
            ScoreFrame(
                "street",
                at,
                at + WINDOW,
                tuple(draw(st.floats(0, 1)) for _ in range(labels)),
                tuple(
                    (at + min(a * unit, WINDOW), at + min(b * unit, WINDOW))
                    for a, b in borders
                ),
                draw(levels),
                draw(levels),
                draw(levels),
            )
        )
    return frames


def same_level(before: float, after: float) -> bool:
    if not math.isfinite(before):
        return math.isnan(after)
    return abs(before - after) < 0.0051


@settings(deadline=None, max_examples=25)
@given(stretches())
def test_frames_come_back_within_the_precision_told(frames: list[ScoreFrame]) -> None:
    blob = encode_frames(frames)
    first = frames[0]
    decoded = decode_frames("street", first.start, WINDOW, HOP, len(frames), blob)
    for before, after in zip(frames, decoded, strict=True):
        assert (after.start, after.stop) == (before.start, before.stop)
        assert after.spans == before.spans
        assert after.scores == pytest.approx(before.scores, abs=0.000008)
        for name in ("level_dbfs", "peak_level_dbfs", "laeq_db"):
            assert same_level(getattr(before, name), getattr(after, name))


def frame(start: int, window: int = WINDOW, labels: int = 2) -> ScoreFrame:
    spans = ((start, start + window),) * labels
    return ScoreFrame(
        "street", start, start + window, (0.5,) * labels, spans, -30.0, -20.0, 50.0
    )


@pytest.mark.parametrize(
    ("after", "hop", "follows"),
    [
        (frame(HOP), None, True),
        (frame(HOP), HOP, True),
        (frame(2 * HOP), HOP, False),  # a frame is missing between them
        (frame(HOP, window=WINDOW // 2), HOP, False),
        (frame(HOP, labels=3), HOP, False),
        (frame(WINDOW + 1), None, False),  # samples between them were not heard
        (frame(0), None, False),
    ],
)
def test_only_frames_that_follow_share_a_blob(
    after: ScoreFrame, hop: int | None, follows: bool
) -> None:
    assert is_next(frame(0), after, hop) is follows


def test_a_minute_of_quiet_takes_few_bytes() -> None:
    frames = [replace(frame(number * HOP, labels=10)) for number in range(108)]
    assert len(encode_frames(frames)) < 200


@pytest.mark.parametrize("cut", [0, 1, 5, 20])
def test_a_damaged_blob_is_an_error_not_a_wrong_answer(cut: int) -> None:
    blob = encode_frames([frame(0), frame(HOP)])
    with pytest.raises(ValueError, match="record of scores"):
        decode_table(blob[:cut], 2, WINDOW)


def test_a_blob_of_another_version_is_named() -> None:
    blob = encode_frames([frame(0)])
    with pytest.raises(ValueError, match="version 9"):
        decode_table(b"\x09" + blob[1:], 1, WINDOW)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = b"\x01" + zlib.compress(bytes(2**28), 9)
    assert len(bomb) < 2**19
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="longer than any"):
            decode_table(bomb, 10, WINDOW)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**26
