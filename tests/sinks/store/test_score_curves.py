"""The curve of an event is what the rows of scores say, decoded without numpy."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.records import ScoreFrame
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.score_curves import COLUMNS, ScoreCurve
from tests.support.store import make_store
from tests.support.timed import LABELS, OPENED, SAMPLE_RATE, timed

HOP, WINDOW = 24_576, 176_640
FRAMES = 150
EACH_MS = 4
"""Milliseconds by which rounded times may differ."""


def frames(source: str = "street") -> Iterator[ScoreFrame]:
    random_ = random.Random(16)
    for number in range(FRAMES):
        start = number * HOP
        spans = []
        for _ in LABELS:
            first, last = sorted(random_.sample(range(WINDOW), 2))
            spans.append((start + first, start + last))
        scores = tuple(random_.random() for _ in LABELS)
        yield ScoreFrame(
            source, start, start + WINDOW, scores, tuple(spans), -30.0, -20.0, 50.0
        )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "monitor.db"
    store = make_store(path)
    for frame in frames():
        store.write([timed(frame)])
    store.write([timed(next(frames("yard")))])
    store.close()
    return path


def curve(
    path: Path, since: float, until: float, label: str = "siren", source: str = "street"
) -> ScoreCurve | None:
    with open_to_read(path) as reader:
        return reader.score_curve(source, label, at(since), at(until))


def at(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


@pytest.mark.parametrize(("since", "until"), [(5, 20), (50, 80), (-10, 4), (84, 96)])
@pytest.mark.parametrize("label", ["siren", LABELS[0], LABELS[-1]])
def test_a_column_has_the_highest_score_that_covers_it(
    stored: Path, since: float, until: float, label: str
) -> None:
    found = curve(stored, since, until, label)
    assert found is not None
    index, each = LABELS.index(label), (until - since) / COLUMNS
    for column, score in enumerate(found):
        middle = (since + (column + 0.5) * each) * SAMPLE_RATE
        reach = (each / 2 + EACH_MS / 1000) * SAMPLE_RATE
        inner = reach - 2 * EACH_MS / 1000 * SAMPLE_RATE
        least, most = (
            max(
                (
                    frame.scores[index]
                    for frame in frames()
                    if frame.spans[index][0] < middle + wide
                    and frame.spans[index][1] > middle - wide
                ),
                default=0.0,
            )
            for wide in (inner, reach)
        )
        assert least - 0.0001 <= (score or 0) <= most + 0.0001


def test_where_nothing_was_analysed_there_is_no_score(stored: Path) -> None:
    found = curve(stored, -10, 10)
    assert found is not None
    assert found[: COLUMNS // 2] == [None] * (COLUMNS // 2)
    assert None not in found[COLUMNS // 2 :]
    assert curve(stored, 200, 220) is None
    assert curve(stored, 5, 20, label="unknown") is None
    assert curve(stored, 5, 20, source="cellar") is None


def test_a_damaged_row_is_left_out(stored: Path) -> None:
    with closing(sqlite3.connect(stored)) as connection, connection:
        connection.execute("UPDATE scores SET data = x'00' WHERE id = 1")
    assert curve(stored, 5, 20) is None
    assert curve(stored, 70, 80) is not None
