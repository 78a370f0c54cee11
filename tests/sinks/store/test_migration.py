"""A database that version 3 wrote is migrated, read and continued.

version_3.sql is the dump of a minute of real recordings, written by a monitor that was
killed while `children_playing` was going on.
"""

import sqlite3
import struct
import zlib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.event_pages import EventFilters
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.reviews import write_verdict
from monitor.sinks.store.schema import MIGRATIONS
from monitor.sinks.store.scores import FORMAT, ScoreRow, encode_frames
from tests.support.clock import FakeClock
from tests.support.store import make_store, open_database, rows, score_frames

Array = NDArray[np.float64]
NOW = datetime(2026, 11, 23, tzinfo=UTC)
DUMP = Path(__file__).with_name("version_3.sql")


@pytest.fixture
def version_3(tmp_path: Path) -> Path:
    path = tmp_path / "monitor.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text())
        connection.execute("PRAGMA user_version = 3")
    return path


@pytest.fixture
def path(version_3: Path) -> Path:
    """The migrated database."""
    open_database(version_3)
    return version_3


def test_scores_are_read_as_version_3_read_them(path: Path) -> None:
    with open_to_read(path) as reader:
        (row,) = reader.score_rows()
    assert rows(path, "PRAGMA user_version") == [len(MIGRATIONS)]
    arrays = row.arrays()
    # Figures of the decoder of version 3.
    steps = np.rint(arrays.scores * 65_535)
    assert (arrays.scores.shape, int(steps.sum())) == ((98, 10), 7_705_289)
    assert int(arrays.spans.sum()) == 165_767_168
    assert arrays.levels.sum() == pytest.approx(-12_385.17)
    first = row.frames()[0]
    assert first.scores[:3] == pytest.approx((0.191257, 0.061326, 0.262058), abs=5e-7)
    assert first.spans[:3] == ((0, 61_952), (0, 94_720), (0, 102_912))
    assert (first.level_dbfs, first.peak_level_dbfs) == (-50.7, -34.47)


def pack_format_1(scores: Array, spans: Array, levels: Array, unit: int) -> bytes:
    """Pack as version 3 did: (frames, labels), (frames, labels, 2), (frames, 3)."""
    steps = np.rint(scores.T * 65_535).astype(np.uint16)
    changes = np.diff(steps, axis=1, prepend=np.uint16(0)).astype("<u2")
    units = -(-spans.transpose(2, 1, 0).astype(int) // unit)
    width = 1 if units.max() < 1 << 8 else 2 if units.max() < 1 << 16 else 4
    known = np.where(np.isfinite(levels), levels * 100, -32_768)
    parts = [
        struct.pack("<BBI", len(steps), width, unit),
        (changes >> 8).astype(np.uint8).tobytes(),
        (changes & 0xFF).astype(np.uint8).tobytes(),
        units.astype(f"<u{width}").tobytes(),
        np.rint(known.T).astype("<i2").tobytes(),
    ]
    return b"\x01" + zlib.compress(b"".join(parts), 9)


@pytest.mark.parametrize("unit", [8192, 512, 1])
def test_every_unit_of_spans_of_version_3_is_read(unit: int) -> None:
    """The end of the window is no multiple of 8192: it was rounded up."""
    window, frames, labels = 176_640, 7, 3
    generator = np.random.default_rng(unit)
    scores = generator.random((frames, labels))
    borders = generator.integers(0, 1 + window // unit, (frames, labels, 2)) * unit
    spans = np.sort(borders, axis=2)
    spans[0] = (0, window)
    levels = generator.normal(-30, 5, (frames, 3)).round(2)
    levels[2, 1] = np.nan
    data = pack_format_1(scores, spans, levels, unit)
    row = ScoreRow("session", "street", NOW, NOW, 0, window, 24_576, frames, 1, data)
    arrays = row.arrays()
    np.testing.assert_allclose(arrays.scores, scores, atol=0.000008)
    np.testing.assert_array_equal(arrays.spans, spans)
    np.testing.assert_allclose(arrays.levels, levels, atol=0.0001)


def test_a_row_takes_as_many_bytes_as_in_version_3(path: Path) -> None:
    with open_to_read(path) as reader:
        (row,) = reader.score_rows()
    assert len(encode_frames(row.frames())) < 1.01 * len(row.data)


def test_a_new_run_ends_the_open_event_and_stores_beside_the_old_rows(
    version_3: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = version_3
    store = make_store(path, FakeClock(), run="next")
    store.write(score_frames(20))
    store.close()
    assert "1 events or health problems" in caplog.text
    assert rows(path, "SELECT label, end_reason FROM events ORDER BY sequence") == [
        ("jackhammer", "offset"),
        ("engine_idling", "offset"),
        ("dog_bark", "offset"),
        ("children_playing", "interrupted"),
    ]
    assert rows(path, "SELECT format, frames FROM scores ORDER BY id") == [
        (1, 98),
        (FORMAT, 20),
    ]
    with open_to_read(path) as reader:
        assert sorted(len(row.frames()) for row in reader.score_rows()) == [20, 98]
    assert rows(path, "SELECT state FROM rule_state") == ['{"version": 1, "rules": {}}']


def test_events_of_an_older_version_can_be_reviewed(path: Path) -> None:
    (event_id, *_) = rows(path, "SELECT id FROM events ORDER BY at_ms")
    with (
        closing(Database(path).connect()) as connection,
        transaction(connection),
    ):
        write_verdict(connection, [event_id], "wrong", None, now=NOW)
    with open_to_read(path) as reader:
        page = reader.events_page(EventFilters())
        assert len(page.events) == len(list(reader.events()))
    reviews = [each.review and each.review.verdict for each in page.events]
    assert reviews == [None] * (len(reviews) - 1) + ["wrong"]
