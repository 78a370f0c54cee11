"""Reading events, gaps, health, scores and day reports."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from monitor.errors import StoreError
from monitor.records import Onset, Timed
from monitor.sinks.store.day_report import day_bounds, report_day
from monitor.sinks.store.queries import open_to_read
from tests.support.clock import FakeClock
from tests.support.store import make_store, score_frames
from tests.support.timed import OPENED, event, gap, onset

HOP = 24_576 / 44_100


def at(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three events, one that goes on, a gap, and 55 seconds of scores."""
    path = tmp_path / "monitor.db"
    clock = FakeClock()
    clock.wall = at(1000)
    store = make_store(path, clock)
    store.write(
        [
            event(number=1, label="siren", start_seconds=10, seconds=5),
            event(number=2, label="dog_bark", start_seconds=20, source="yard"),
            event(number=3, label="siren", start_seconds=30, seconds=20),
            onset(number=4, label="drilling", start_seconds=45),
            gap(start_seconds=55, seconds=5),
            event(number=5, opened=None),
        ]
    )
    store.write(score_frames(91))
    store.close()
    return path


def ids(found: object) -> list[str]:
    return [timed.record.id[-1] for timed in found]  # type: ignore[attr-defined]


def test_records_come_back_as_written(path: Path) -> None:
    written = event(number=1, label="siren", start_seconds=10, seconds=5)
    with open_to_read(path) as reader:
        read = next(reader.events())
    assert read.record == written.record
    assert (read.start_seconds, read.end_seconds) == (
        written.start_seconds,
        written.end_seconds,
    )
    assert read.start_utc is not None
    assert written.start_utc is not None
    assert abs(read.start_utc - written.start_utc) < timedelta(milliseconds=1)


def test_an_event_that_goes_on_comes_back_as_its_onset(path: Path) -> None:
    with open_to_read(path) as reader:
        (going_on,) = reader.events(labels=["drilling"])
    assert isinstance(going_on.record, Onset)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, "12345"),
        ({"since": at(0), "until": at(100)}, "1234"),
        ({"since": at(14), "until": at(100)}, "1234"),  # the first one lasts to 15
        ({"since": at(16), "until": at(100)}, "234"),
        ({"since": at(40), "until": at(44)}, "3"),
        ({"since": at(52), "until": at(100)}, "4"),  # it still goes on
        ({"until": at(20)}, "1"),
        ({"until": at(100), "labels": ["siren"]}, "13"),
        ({"until": at(100), "labels": ["siren", "drilling"]}, "134"),
        ({"sources": ["yard"]}, "2"),
        ({"min_score": 0.94}, ""),
        ({"labels": ["x' OR 1 --"]}, ""),
    ],
)
def test_only_the_chosen_events_are_read(
    path: Path, choice: dict[str, object], expected: str
) -> None:
    with open_to_read(path) as reader:
        found = sorted(ids(reader.events(**choice)))  # type: ignore[arg-type]
    assert "".join(found) == expected


def test_score_frames_come_back_with_their_times(path: Path) -> None:
    with open_to_read(path) as reader:
        (row,) = reader.score_rows(at(0), at(100))
    assert [frame.stop for frame in row.frames()][:2] == [176_640, 201_216]
    assert abs(row.start - at(0)) < timedelta(milliseconds=2)
    assert abs(row.end - at(176_640 / 44_100 + 90 * HOP)) < timedelta(milliseconds=2)


def test_scores_of_another_time_are_not_read(path: Path) -> None:
    with open_to_read(path) as reader:
        assert not list(reader.score_rows(at(60), at(100)))
        assert not list(reader.score_rows(at(-100), at(-1)))


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database"), open_to_read(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no database" * 1000)
    with (
        pytest.raises(StoreError, match="is not a database"),
        open_to_read(tmp_path / "a") as reader,
    ):
        list(reader.events())


def test_a_day_report_sums_up_events_levels_and_gaps(
    path: Path,
) -> None:
    with open_to_read(path) as reader:
        report = report_day(reader, OPENED.date(), at(100), UTC)
    street = report.sources["street"]
    assert street.listened_seconds == pytest.approx(
        176_640 / 44_100 + 90 * HOP, abs=0.01
    )
    assert street.lost_seconds == {"unplugged": pytest.approx(5.0, abs=0.01)}
    assert street.gaps == 1
    assert street.laeq_db == pytest.approx(52.1, abs=0.01)
    assert street.laeq_db_by_hour[5] == street.laeq_db
    siren = report.labels["siren"]
    assert (siren.events, siren.by_hour[5]) == (2, 2)
    assert siren.total_seconds == pytest.approx(25.0, abs=0.01)
    assert siren.longest_seconds == pytest.approx(20.0, abs=0.01)
    assert siren.loudest_laeq_db == pytest.approx(63.26)
    assert report.labels["drilling"].total_seconds == pytest.approx(55.0, abs=0.01)
    assert list(report.labels) == ["drilling", "siren", "dog_bark"]
    assert report.seconds == pytest.approx(5 * 3600 + 56 * 60 + 100)


def test_another_day_is_empty(path: Path) -> None:
    with open_to_read(path) as reader:
        report = report_day(reader, date(2026, 11, 21), at(100), UTC)
    assert report.sources == {}
    assert report.events == []
    assert report.seconds == 86_400


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)],
)
def test_a_day_is_as_long_as_the_clock_changes_make_it(day: date, hours: int) -> None:
    start, end = day_bounds(day, ZoneInfo("Europe/Berlin"))
    assert end - start == timedelta(hours=hours)


def test_an_event_over_midnight_counts_in_part_in_each_day(
    tmp_path: Path,
) -> None:
    path = tmp_path / "monitor.db"
    store = make_store(path)
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    over: Timed = event(
        start_seconds=0, seconds=60, opened=midnight - timedelta(seconds=20)
    )
    store.write([over])
    store.close()
    later = midnight + timedelta(hours=2)
    with open_to_read(path) as reader:
        before = report_day(reader, date(2026, 11, 23), later, UTC)
        after = report_day(reader, date(2026, 11, 24), later, UTC)
    assert before.labels["siren"].total_seconds == pytest.approx(20)
    assert after.labels["siren"].total_seconds == pytest.approx(40)
    assert sum(after.labels["siren"].by_hour) == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET top = '[[['",
        "UPDATE events SET top = '7'",
        "UPDATE events SET end_reason = 'because'",
        "UPDATE events SET start_ms = 9223372036854775807",
        "UPDATE sessions SET sample_rate = 0",
    ],
)
def test_invalid_rows_are_left_out_and_counted(
    path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change + " WHERE rowid = 1")
    with open_to_read(path) as reader:
        found = list(reader.events())
    left_out = 5 - len(found)
    assert left_out >= 1
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"{left_out} rows of the database are invalid"
    )


def test_scores_beyond_the_calendar_are_left_out(path: Path) -> None:
    with open_to_read(path) as reader:
        count = len(list(reader.score_rows()))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE scores SET start_ms = -9e18 WHERE id = 1")
    with open_to_read(path) as reader:
        assert len(list(reader.score_rows())) == count - 1


@pytest.mark.parametrize("labels", ["[[[", "{}", "[1]", "7"])
def test_a_session_without_labels_is_one_sentence(path: Path, labels: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE sessions SET labels = ?", (labels,))
    with (
        open_to_read(path) as reader,
        pytest.raises(StoreError, match="a session of the database is damaged"),
    ):
        reader.sessions()
