"""Score frames survive their form in the database."""

import math
import tracemalloc
import zlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import StoreError
from monitor.records import ScoreFrame
from monitor.sinks.store.scores import FORMAT, ScoreLog, ScoreRow, encode_frames
from tests.support.timed import timed

WINDOW = 176_640
HOP = 24_576
COLUMN = 8192
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def stored(data: bytes, frames: int, start: int = 0, form: int = FORMAT) -> ScoreRow:
    return ScoreRow(
        "session", "street", NOW, NOW, start, WINDOW, HOP, frames, form, data
    )


@st.composite
def frames_in_a_row(draw: st.DrawFn) -> list[ScoreFrame]:
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
@given(frames_in_a_row())
def test_frames_come_back_within_the_documented_precision(
    frames: list[ScoreFrame],
) -> None:
    row = stored(encode_frames(frames), len(frames), frames[0].start)
    for before, after in zip(frames, row.frames(), strict=True):
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
    ("after", "hops_before", "rows"),
    [
        (frame(HOP), 0, 1),
        (frame(3 * HOP), 2, 1),
        (frame(4 * HOP), 2, 2),  # a frame is missing between them
        (frame(3 * HOP, window=WINDOW // 2), 2, 2),
        (frame(3 * HOP, labels=3), 2, 2),
        (frame(WINDOW + 1), 0, 2),  # samples between them are in no window
        (frame(0), 0, 2),
    ],
)
def test_only_frames_that_follow_each_other_share_a_row(
    after: ScoreFrame, hops_before: int, rows: int
) -> None:
    log = ScoreLog()
    for each in [*(frame(n * HOP) for n in range(hops_before + 1)), after]:
        log.add(timed(each))
    assert len(list(log._rows())) == rows
    assert log.pending_frames == hops_before + 2


def test_the_frames_are_counted_without_looking_at_rows_that_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker asks while the files thread adds and removes rows."""
    log = ScoreLog()
    log.add(timed(frame(0)))
    log.add(timed(frame(4 * HOP)))
    with monkeypatch.context() as patch:
        patch.setattr(log, "_rows", lambda: pytest.fail("it looked at the rows"))
        assert log.pending_frames == 2
    log.forget(0, 1 << 62)
    assert log.pending_frames == 0


def test_a_minute_of_quiet_takes_few_bytes() -> None:
    frames = [replace(frame(number * HOP, labels=10)) for number in range(108)]
    assert len(encode_frames(frames)) < 200


@pytest.mark.parametrize("cut", [0, 1, 5, 20, -1])
def test_a_damaged_row_is_an_error_not_a_wrong_answer(cut: int) -> None:
    data = encode_frames([frame(0), frame(HOP)])
    with pytest.raises(StoreError, match=r"the scores of street at .* are damaged"):
        stored(data[:cut], 2).arrays()


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_row_with_another_number_of_frames_is_damaged(frames: int) -> None:
    data = encode_frames([frame(0), frame(HOP)])
    with pytest.raises(StoreError, match="are damaged"):
        stored(data, frames).arrays()


def test_a_row_of_an_unknown_format_is_named() -> None:
    with pytest.raises(StoreError, match="format 9 is unknown"):
        stored(encode_frames([frame(0)]), 1, form=9).arrays()


@pytest.mark.parametrize("form", [1, 2])
def test_a_bomb_is_not_unpacked(form: int) -> None:
    bomb = b"\x01" * (2 - form) + zlib.compress(bytes(2**28), 9)
    assert len(bomb) < 2**19
    tracemalloc.start()
    try:
        with pytest.raises(StoreError, match="longer than any"):
            stored(bomb, 10, form=form).arrays()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**26
