"""The calendar counts events where they began, and their seconds where they sounded."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from monitor.records import Timed
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.reviews import write_verdict
from monitor.sinks.store.selection import Selection
from monitor.sinks.store.sound_calendar import LabelCalendar, sound_calendar
from tests.support.clock import FakeClock
from tests.support.store import make_store, open_database
from tests.support.timed import event, onset

BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2026, 11, 23)
MIDNIGHT = datetime(2026, 11, 22, 23, tzinfo=UTC)
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def heard(number: int, start: float, seconds: float, label: str = "siren") -> Timed:
    """An event, in seconds after midnight in Berlin."""
    return event(
        number=number,
        label=label,
        start_seconds=start,
        seconds=seconds,
        opened=MIDNIGHT,
    )


def store_events(path: Path, *events: Timed) -> None:
    store = make_store(path, FakeClock())
    store.write(events)
    store.close()


def calendar(
    path: Path, first: date = DAY, last: date = DAY, zone: tzinfo = BERLIN
) -> list[LabelCalendar]:
    with open_to_read(path) as reader:
        return sound_calendar(reader, Selection(first, last, NOW, zone))


def of_day(found: LabelCalendar, day: date) -> tuple[int, float]:
    heard = found.sums(lambda day, _: day)[day]
    return heard.events, heard.seconds


def of_hour(found: LabelCalendar, hour: int) -> float:
    return found.sums(lambda _, hour: hour)[hour].seconds


def test_seconds_count_in_the_hours_in_which_an_event_sounded(path: Path) -> None:
    store_events(path, heard(1, 9.5 * 3600, 2 * 3600), heard(2, 9 * 3600, 60))
    (siren,) = calendar(path)
    cells = {hour: (it.events, it.seconds) for (_, hour), it in siren.cells.items()}
    assert cells == {9: (2, 1860.0), 10: (0, 3600.0), 11: (0, 1800.0)}
    assert (siren.total.events, siren.total.seconds) == (2, 7260.0)
    assert siren.first == MIDNIGHT + timedelta(hours=9)
    assert siren.last == MIDNIGHT + timedelta(hours=11.5)


def test_two_events_of_the_same_time_are_both_counted(path: Path) -> None:
    store_events(path, *(heard(n, 9.5 * 3600, 3600) for n in range(3)))
    (siren,) = calendar(path)
    assert of_hour(siren, 10) == 3 * 1800
    assert of_day(siren, DAY)[0] == 3


def test_an_event_over_midnight_counts_on_both_days(path: Path) -> None:
    store_events(path, heard(1, 23.9 * 3600, 1200))
    next_day = DAY + timedelta(days=1)
    (siren,) = calendar(path, DAY, next_day)
    assert of_day(siren, DAY) == (1, 360.0)
    assert of_day(siren, next_day) == (0, 840)
    (alone,) = calendar(path, next_day, next_day)
    assert (alone.total.events, alone.total.seconds) == (0, 840.0)
    assert alone.first == MIDNIGHT + timedelta(days=1)


def test_the_longest_label_comes_first_and_what_goes_on_counts_until_now(
    path: Path,
) -> None:
    drilling = onset(
        number=2, label="drilling", start_seconds=22 * 3600, opened=MIDNIGHT
    )
    store_events(path, heard(1, 3600, 600), drilling)
    found = calendar(path)
    assert [each.label for each in found] == ["drilling", "siren"]
    assert found[0].total.seconds == 7200


def test_wrong_events_do_not_count_and_others_count_for_the_right_label(
    path: Path,
) -> None:
    store_events(path, *(heard(n, n * 600, 60) for n in range(1, 4)))
    connection = open_database(path).connect()
    write_verdict(connection, ["session-street-1"], "wrong", None, now=NOW)
    write_verdict(connection, ["session-street-2"], "label", "horn", now=NOW)
    connection.close()
    assert {it.label: it.total.events for it in calendar(path)} == {
        "horn": 1,
        "siren": 1,
    }


def test_in_a_zone_of_half_hours_an_hour_begins_at_its_half(path: Path) -> None:
    store_events(path, heard(1, 6 * 3600, 3600))  # 5:00 to 6:00 UTC
    (siren,) = calendar(path, zone=ZoneInfo("Asia/Kolkata"))
    cells = {hour: it.seconds for (_, hour), it in siren.cells.items()}
    assert cells == {10: 1800.0, 11: 1800.0}


def test_the_hour_that_the_clocks_repeat_is_one_row(path: Path) -> None:
    day = date(2026, 10, 25)
    midnight = datetime(2026, 10, 24, 22, tzinfo=UTC)
    store_events(path, event(start_seconds=2 * 3600, seconds=2 * 3600, opened=midnight))
    (siren,) = calendar(path, day, day)
    assert of_hour(siren, 2) == 7200
