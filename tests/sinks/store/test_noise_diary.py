"""The noise diary joins repeated events, and says what it rests on."""

import csv
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from monitor.sinks.store.listened import OFF
from monitor.sinks.store.noise_diary import Hours, diary_csv, noise_diary
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.reviews import write_verdict
from monitor.sinks.store.selection import Selection
from tests.support.clock import FakeClock
from tests.support.levels import minutes, store_levels
from tests.support.store import make_store, open_database
from tests.support.timed import event, gap, timed

BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2026, 11, 23)
NINE = datetime(2026, 11, 23, 8, tzinfo=UTC)
"""9 o'clock in Berlin, at which the sources of these tests are opened."""

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def sound(number: int, minute: float, seconds: float, **changes: object):
    """An event that begins so many minutes after nine."""
    whole = event(
        number=number, label="drilling", start_seconds=60 * minute, seconds=seconds
    )
    return timed(replace(whole.record, **changes), NINE)


def store_run(
    path: Path, *records, run: str = "session", began: float = 0.0, ended: float = 600.0
) -> None:
    """A run of the monitor, in minutes after nine."""
    clock = FakeClock()
    clock.wall = NINE + timedelta(minutes=began)
    store = make_store(path, clock, run=run)
    store.write(records)
    clock.wall = NINE + timedelta(minutes=ended)
    store.close()


def diary(path: Path, first: date = DAY, *, zone=BERLIN, more=None, **chosen):
    """The diary from a day to `DAY`, or of a later one."""
    selection = Selection(first, max(first, DAY), NOW, zone, **chosen)
    with open_to_read(path) as reader:
        return noise_diary(reader, selection, **more or {})


@pytest.mark.parametrize(("pause", "incidents"), [(9, 2), (10, 1)])
def test_events_with_short_pauses_are_one_incident(
    path: Path, pause: int, incidents: int
) -> None:
    store_run(path, sound(1, 0, 60), sound(2, 11, 60), sound(3, 14, 60, source="yard"))
    found = diary(path, more={"pause": timedelta(minutes=pause)}).incidents
    assert len([it for it in found if it.source == "street"]) == incidents
    assert len(found) == incidents + 1


def test_an_incident_has_its_share_and_the_level_while_it_sounded(path: Path) -> None:
    store_run(
        path,
        sound(1, 0, 180, laeq_db=71.0, lafmax_db=80.0, level_offset_db=94.0),
        # A minute of it is shared.
        sound(2, 2, 120, laeq_db=71.0, lafmax_db=84.5, level_offset_db=94.0),
        sound(3, 9, 60, laeq_db=61.0, lafmax_db=70.0, level_offset_db=94.0),
    )
    store_levels(path, minutes(NINE, 60, 60.0))
    (found,) = diary(path).incidents
    assert (found.start, found.end) == (NINE, NINE + timedelta(minutes=10))
    assert (found.events, found.sounding_seconds, found.share) == (3, 300.0, 0.5)
    # 300 s at 71 dB and 60 s at 61 dB.
    assert found.laeq_db == pytest.approx(70.29, abs=0.01)
    assert found.lafmax_db == 84.5
    assert found.is_calibrated


def test_levels_are_not_called_calibrated_if_a_part_was_not(path: Path) -> None:
    store_run(path, sound(1, 0, 60), sound(2, 120, 60, level_offset_db=94.0))
    store_levels(path, minutes(NINE, 30, -30.0, offset_db=0.0))
    store_levels(path, minutes(NINE + timedelta(minutes=30), 30, 60.0))
    store_levels(path, minutes(NINE + timedelta(hours=2), 60, 60.0))
    found = diary(path)
    assert [it.is_calibrated for it in found.incidents] == [False, True]
    assert not found.sources["street"].is_calibrated
    assert found.sources["street"].offsets_db == [0.0, 94.0]
    assert found.sources["street"].listened_seconds == 7200


def test_what_was_not_listened_to_is_listed(path: Path) -> None:
    store_run(path, sound(1, 0, 60), run="one", ended=60)
    long, short = gap(start_seconds=600, seconds=30), gap(start_seconds=900, seconds=2)
    gaps = [timed(each.record, NINE + timedelta(minutes=90)) for each in (long, short)]
    store_run(path, *gaps, run="two", began=90, ended=600)
    found = diary(path)
    midnight, next_one = (NINE + timedelta(hours=hours) for hours in (-9, 15))
    at = [NINE + timedelta(minutes=m) for m in (60, 90, 100, 100.5, 600)]
    assert [(it.start, it.end, it.reason) for it in found.missed] == [
        (midnight, NINE, OFF),
        (at[0], at[1], OFF),
        (at[2], at[3], "unplugged"),
        (at[4], next_one, OFF),
    ]
    assert found.sources["street"].short_gaps == 1
    assert found.sources["street"].short_seconds == 2.0


def test_wrong_events_are_left_out(path: Path) -> None:
    store_run(path, sound(1, 0, 60), sound(2, 60, 60))
    connection = open_database(path).connect()
    write_verdict(connection, ["session-street-1"], "wrong", None, now=NOW)
    connection.close()
    (found,) = diary(path).incidents
    assert found.start == NINE + timedelta(hours=1)


def test_labels_and_sources_are_chosen(path: Path) -> None:
    store_run(path, sound(1, 0, 60), sound(2, 1, 60, source="yard", label="siren"))
    assert [it.label for it in diary(path, labels=["siren"]).incidents] == ["siren"]
    of_yard = diary(path, sources=["yard"])
    assert [it.source for it in of_yard.incidents] == ["yard"]
    assert list(of_yard.sources) == ["yard"]


def test_the_table_has_times_of_the_place_and_no_formula(path: Path) -> None:
    more = {"label": "=cmd()", "source": "@here", "laeq_db": 71.04, "lafmax_db": None}
    store_run(path, sound(1, 0, 60, **more))
    rows = list(csv.DictReader(diary_csv(diary(path), BERLIN).splitlines()))
    (incident,) = [row for row in rows if row["kind"] == "incident"]
    assert incident["start"] == "2026-11-23T09:00:00+01:00"
    assert (incident["source"], incident["label"]) == ("'@here", "'=cmd()")
    assert incident["laeq_db"] == "71.0"
    assert incident["lafmax_db"] == ""
    assert incident["unit"] == "dBFS(A)"
    assert [row["reason"] for row in rows] == ["", OFF, "", OFF]
    assert rows[1]["note"] == "the monitor did not run"


def test_an_incident_has_one_unit_that_of_its_events(path: Path) -> None:
    """Whether there are levels of its hours or not, and what is configured today."""
    before = {"level_offset_db": 0.0, "laeq_db": -30.0}
    after = {"level_offset_db": 94.0, "laeq_db": 64.0}
    store_run(
        path,
        sound(1, 0, 60, laeq_db=-31.0),  # of an earlier version
        sound(2, 2, 60, **before),
        sound(3, 4, 60, **after),
        sound(4, 6, 60, **after),
    )
    found = diary(path).incidents
    assert [(it.is_calibrated, it.events) for it in found] == [(False, 2), (True, 2)]
    assert found[0].laeq_db == pytest.approx(-30.47, abs=0.01)
    assert found[1].laeq_db == pytest.approx(64.0)


def test_a_monitor_that_runs_is_not_said_to_be_off(path: Path) -> None:
    clock = FakeClock()
    clock.wall = NOW - timedelta(hours=12)
    store = make_store(path, clock)
    store.write([timed(event().record, clock.wall)])
    today = NOW.date() - timedelta(days=1)

    def off(silent: dict[str, datetime] | None) -> list[datetime]:
        found = diary(path, today, zone=UTC, silent=silent)
        return [it.start for it in found.missed]

    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    assert off({}) == [midnight]
    assert off(None) == [midnight, clock.wall]


@pytest.mark.parametrize(
    ("hours", "parts"),
    [
        # Two events of an hour, from 9 and from 9:30; one of four days, from 11.
        (Hours(9, 10), [("drilling", 0, 60, 60)]),
        (Hours(8, 9), []),
        (Hours(10, 9), [("drilling", 60, 90, 30), ("horn", 120, 900, 780)]),
        (Hours(12, 13), [("horn", 180, 240, 60)]),
        (Hours(22, 6), [("horn", 780, 900, 120)]),
    ],
)
def test_events_are_cut_at_the_borders_of_the_hours(
    path: Path, hours: Hours, parts: list[tuple[str, float, float, float]]
) -> None:
    store_run(
        path,
        sound(1, 0, 3600),
        sound(2, 30, 3600, source="street"),
        sound(3, 120, 4 * 86_400, label="horn"),
    )
    minute = timedelta(minutes=1)
    found = diary(path, more={"hours": hours}).incidents
    assert [
        (
            it.label,
            (it.start - NINE) / minute,
            (it.end - NINE) / minute,
            it.sounding_seconds / 60,
        )
        for it in found
    ] == parts


def test_a_sound_of_several_nights_is_an_incident_of_each(path: Path) -> None:
    store_run(path, sound(1, 0, 3 * 86_400, laeq_db=60.0, level_offset_db=94.0))
    night = {"hours": Hours(22, 6), "pause": timedelta(days=1)}
    selection = Selection(DAY, DAY + timedelta(days=2), NOW, BERLIN)
    with open_to_read(path) as reader:
        found = noise_diary(reader, selection, **night).incidents
    assert [(it.events, it.sounding_seconds / 3600) for it in found] == [
        (1, 8.0),
        (1, 3.0),  # until now
    ]
    assert [it.laeq_db for it in found] == pytest.approx([60.0, 60.0])


def test_the_hours_of_a_night_in_which_the_clocks_change_are_those_of_the_place(
    path: Path,
) -> None:
    night = Selection(date(2026, 10, 25), date(2026, 10, 25), NOW, BERLIN)
    (early, late) = Hours(22, 6).windows(night)
    hour_ms = 3_600_000
    assert (early[1] - early[0], late[1] - late[0]) == (7 * hour_ms, 2 * hour_ms)
