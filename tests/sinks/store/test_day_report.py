"""The report of a day sums up events, levels and gaps."""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from monitor.records import Timed
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.day_report import DayReport, report_day
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.reviews import write_verdict
from monitor.sinks.store.selection import Selection
from monitor.sinks.store.sound_calendar import sound_calendar
from tests.support.clips import identifier
from tests.support.store import make_store
from tests.support.timed import OPENED, event

HOP, WINDOW = 24_576 / 44_100, 176_640 / 44_100


def at(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


def report_of(path: Path, day: date, now: datetime) -> DayReport:
    with open_to_read(path) as reader:
        return report_day(reader, Selection(day, day, now, UTC))


def test_a_day_report_sums_up_events_levels_and_gaps(stored: Path) -> None:
    report = report_of(stored, OPENED.date(), at(100))
    street = report.sources["street"]
    assert street.listened_seconds == pytest.approx(90 * HOP + WINDOW, abs=0.01)
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


def test_levels_outlive_the_scores(stored: Path) -> None:
    with closing(sqlite3.connect(stored)) as database, database:
        database.execute("DELETE FROM scores")
    report = report_of(stored, OPENED.date(), at(100))
    street = report.sources["street"]
    assert street.listened_seconds == pytest.approx(91 * HOP, abs=0.01)
    assert street.laeq_db == pytest.approx(52.1, abs=0.01)
    assert street.is_calibrated


def test_reviews_are_applied_as_on_the_page_day(path: Path) -> None:
    """One drilling was wrong, and another a siren."""
    store = make_store(path)
    for number in range(3):
        store.write(
            [event(number=number, label="drilling", start_seconds=100.0 * number)]
        )
    store.close()
    with closing(Database(path).connect()) as connection, transaction(connection):
        for number, verdict, label in ((0, "wrong", None), (1, "label", "siren")):
            write_verdict(connection, [identifier(number)], verdict, label, now=OPENED)
    with open_to_read(path) as reader:
        day = OPENED.date()
        for labels, expected in (
            ((), {"drilling": 1, "siren": 1}),
            (("siren",), {"siren": 1}),
        ):
            selection = Selection(day, day, at(1000), UTC, labels=labels)
            found = report_day(reader, selection)
            assert {it: each.events for it, each in found.labels.items()} == expected
            assert len(found.events) == len(expected)
            pages = sound_calendar(reader, selection)
            assert {it.label: it.total.events for it in pages} == expected


def test_another_day_is_empty(stored: Path) -> None:
    report = report_of(stored, date(2026, 11, 21), at(100))
    assert report.sources == {}
    assert report.events == []
    assert report.seconds == 86_400


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)],
)
def test_a_day_is_as_long_as_the_clock_changes_make_it(day: date, hours: int) -> None:
    selection = Selection(day, day, at(0), ZoneInfo("Europe/Berlin"))
    assert selection.end - selection.start == timedelta(hours=hours)


def test_an_event_over_midnight_counts_in_part_in_each_day(path: Path) -> None:
    store = make_store(path)
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    over: Timed = event(
        start_seconds=0, seconds=60, opened=midnight - timedelta(seconds=20)
    )
    store.write([over])
    store.close()
    later = midnight + timedelta(hours=2)
    before = report_of(path, date(2026, 11, 23), later)
    after = report_of(path, date(2026, 11, 24), later)
    assert before.labels["siren"].total_seconds == pytest.approx(20)
    assert after.labels["siren"].total_seconds == pytest.approx(40)
    assert sum(after.labels["siren"].by_hour) == 0
