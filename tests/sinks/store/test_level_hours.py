"""The levels of hours are kept over sessions, in a small row each."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from monitor.config.outputs import StoreSettings
from monitor.sinks.store.forget import count, forget
from monitor.sinks.store.level_hours import LevelHour
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.store import FLUSH_SECONDS
from tests.support.clock import FakeClock
from tests.support.damage import damage_page
from tests.support.levels import level_frame, minutes, store_levels
from tests.support.store import make_store, rows
from tests.support.timed import statistics

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.wall = NINE + timedelta(hours=2)
    return clock


def read(path: Path, *sources: str) -> list[LevelHour]:
    with open_to_read(path) as reader:
        return list(reader.level_hours(sources=sources))


def test_an_hour_has_the_mean_energy_and_the_highest_level(path: Path) -> None:
    loud = minutes(NINE, 6, 70.0, lafmax_db=81.5)
    store_levels(path, loud + minutes(NINE + timedelta(minutes=6), 54, 50.0))
    (hour,) = read(path)
    assert hour.start == NINE
    assert hour.covered_seconds == 3600
    # A tenth of the time at 70 dB, the rest at 50.
    assert hour.laeq_db == pytest.approx(10 * np.log10((1e7 + 9e5) / 10), abs=0.01)
    assert hour.lafmax_db == 81.5
    assert hour.exceeded_db(0.05) == 70.0
    assert hour.exceeded_db(0.5) == 50.0


def test_a_hop_counts_for_the_hour_in_which_it_began(path: Path) -> None:
    store_levels(path, minutes(NINE - timedelta(minutes=2), 4, 60.0))
    assert [hour.covered_seconds for hour in read(path)] == [120, 120]


def test_an_hour_goes_on_after_a_restart(path: Path, clock: FakeClock) -> None:
    for run in range(3):
        store = make_store(path, clock, run=f"run {run}")
        start = NINE + timedelta(minutes=10 * run)
        store.write(minutes(start, 10, 60.0 + run, third_octaves_db=((50.0, 40.0),)))
        store.close()
    (hour,) = read(path)
    assert hour.covered_seconds == 1800
    assert hour.lafmax_db == 62.0
    assert sorted(hour.histogram) == [600, 610, 620]
    assert hour.octave_seconds == [1800.0, 1800.0]
    assert hour.third_octaves_db == pytest.approx([50.0, 40.0], abs=1e-4)


def test_a_kill_costs_a_minute_at_most(path: Path, clock: FakeClock) -> None:
    store = make_store(path, clock)
    for end in range(1, 572):
        clock.advance(1.0)
        store.write([level_frame(NINE + timedelta(seconds=end), 60.0, seconds=1)])
        store.report(statistics())
    (hour,) = read(path)
    assert 571 - 60 - FLUSH_SECONDS <= hour.covered_seconds < 571
    store.close()
    assert read(path)[0].covered_seconds == pytest.approx(571)


def test_levels_without_an_offset_are_not_mixed_with_those_with_one(
    path: Path,
) -> None:
    store_levels(path, minutes(NINE, 5, -30.0, offset_db=0.0))
    store_levels(path, minutes(NINE, 5, 64.0))
    assert [(it.offset_db, it.lafmax_db) for it in read(path)] == [
        (0.0, -30.0),
        (94.0, 64.0),
    ]


def test_a_row_of_a_busy_hour_takes_a_kilobyte_at_most(path: Path) -> None:
    generator = np.random.default_rng(0)

    def street() -> Iterator[object]:
        for end in range(1, 3601):
            laf = generator.gamma(4.0, 4.0, 9) + 35
            octaves = (tuple(generator.normal(50, 10, 29)),)
            yield level_frame(
                NINE + timedelta(seconds=end),
                float(laf.mean()),
                seconds=1,
                laf_db=tuple(laf),
                third_octaves_db=octaves,
            )

    store_levels(path, street())
    (size,) = rows(path, "SELECT length(data) FROM level_hours")
    assert size < 950


def test_forgotten_hours_are_gone_also_from_memory(
    path: Path, clock: FakeClock
) -> None:
    store = make_store(path, clock)
    store.write(minutes(NINE, 60, 60.0) + minutes(NINE + timedelta(hours=1), 20, 60.0))
    clock.advance(FLUSH_SECONDS)
    store.report(statistics())
    store.write([level_frame(NINE + timedelta(minutes=80, seconds=9), 99, seconds=9)])
    since = NINE + timedelta(minutes=70)
    found = forget(path, since, clock.wall)
    assert (found.level_hours, found.since) == (1, since)
    store.close()
    assert [(it.start, it.lafmax_db) for it in read(path)] == [(NINE, 60.0)]


def test_nothing_is_forgotten_before_it_is_asked(path: Path) -> None:
    store_levels(path, minutes(NINE, 60, 60.0))
    assert count(path, NINE + timedelta(hours=1)).level_hours == 0
    assert count(path, None).since == NINE


def test_hours_are_deleted_by_their_age(path: Path, clock: FakeClock) -> None:
    store = make_store(path, clock, settings=StoreSettings(keep_days=2))
    for day in range(4):
        store.write(minutes(NINE - timedelta(days=day), 60, 60.0))
    clock.advance(7 * 3600)  # until the clock is believed
    for _ in range(100):
        clock.advance(1.0)
        store.report(statistics())
    store.close()
    assert [it.start for it in read(path)] == [NINE - timedelta(days=1), NINE]


def test_hours_are_carried_over_from_a_damaged_database(
    path: Path, clock: FakeClock
) -> None:
    store = make_store(path, clock)
    for hour in range(100):
        store.write(minutes(NINE + timedelta(hours=hour), 60, 60.0))
    store.close()
    before = read(path)
    damage_page(path, b"CREATE TABLE level_hours")
    make_store(path, clock).close()
    assert [it.start for it in read(path)] == [it.start for it in before]
    assert list(path.parent.glob("*.damaged-*"))


def test_an_hour_of_another_program_is_left_out(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store_levels(path, minutes(NINE, 120, 60.0))
    rows_before = read(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE level_hours SET data = x'00' WHERE id = 1")
    connection.close()
    assert [it.start for it in read(path)] == [rows_before[1].start]
    assert "invalid" in caplog.text
    # It begins anew.
    store_levels(path, minutes(NINE, 1, 50.0))
    assert read(path)[0].covered_seconds == 60


def test_figures_are_read_without_numpy() -> None:
    """The process of the web page has none."""
    code = (
        "import sys, monitor.sinks.store.level_figures, "
        "monitor.sinks.store.sound_calendar; sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
