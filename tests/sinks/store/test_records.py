"""Health problems in the database: completed, ended after a kill, forgotten."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.config.outputs import StoreSettings
from monitor.records import EVERY_SOURCE, Health, Timed
from monitor.sinks.store.day_report import duration_of, report_day
from monitor.sinks.store.event_pages import EventFilters
from monitor.sinks.store.forget import forget
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.records import KILLED
from monitor.sinks.store.selection import Selection
from monitor.sinks.store.sound_calendar import sound_calendar
from tests.support.clock import FakeClock
from tests.support.health import trouble
from tests.support.store import (
    AlertOnEverything,
    make_store,
    open_database,
    rows,
    score_frames,
)
from tests.support.timed import LABELS, OPENED, event


def at(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


def stored(path: Path, *records: Timed, run: str = "session") -> None:
    clock = FakeClock()
    clock.wall = at(1000)
    store = make_store(path, clock, run=run)
    store.write(records)
    store.close()


def found(path: Path, *bounds: datetime | None) -> list[Timed]:
    with open_to_read(path) as reader:
        return list(reader.health(*bounds))


def records(path: Path) -> list[Health]:
    all_records = [timed.record for timed in found(path)]
    return [record for record in all_records if isinstance(record, Health)]


def test_a_health_problem_is_one_row_from_raised_to_cleared(path: Path) -> None:
    stored(path, trouble())
    assert records(path)[0].state == "raised"
    stored(path, trouble("cleared", seconds=75, detail=""))
    (timed,) = found(path)
    assert timed.record == trouble("cleared", seconds=75).record
    assert (timed.start_utc, timed.end_utc) == (at(20), at(95))


def test_the_reason_of_its_end_is_appended_to_its_detail(path: Path) -> None:
    stored(path, trouble(), trouble("cleared", detail="the monitor was stopped"))
    assert records(path)[0].detail == "turn the gain down; the monitor was stopped"


def test_health_problems_are_found_by_time_and_source(path: Path) -> None:
    stored(
        path,
        *(trouble(it, seconds=30) for it in ("raised", "cleared")),  # 20 to 50 s
        trouble(kind="deaf", source="yard", start_seconds=100),
        trouble(kind="disk", source=EVERY_SOURCE, start_seconds=200),
    )
    kinds = [
        it.record.kind for it in found(path, at(60)) if isinstance(it.record, Health)
    ]
    assert kinds == ["deaf", "disk"]
    assert len(found(path, at(40), at(45))) == 1
    assert len(found(path, None, at(10))) == 0
    with open_to_read(path) as reader:
        of_yard = [timed.record.source for timed in reader.health(sources=["yard"])]
    assert of_yard == ["yard", EVERY_SOURCE]


def test_a_restart_ends_the_health_problems_of_a_killed_monitor(path: Path) -> None:
    """Its health problem ends where the scores end, and the rules get it."""
    clock = FakeClock()
    clock.wall = at(1000)
    killed = make_store(path, clock)
    clock.advance(10.0)
    killed.write([*score_frames(91), trouble(start_seconds=10, seconds=2)])
    killed._writer.close()
    seen: list[Timed] = []

    class Noting(AlertOnEverything):
        def step(self, batch, now):
            seen.extend(batch)
            return super().step(batch, now)

    make_store(path, clock, run="next", rules=Noting()).close()
    (timed,), (ended,) = found(path), seen
    assert isinstance(ended.record, Health)
    assert ended.record.state == "cleared"
    record = records(path)[0]
    assert record.state == "cleared"
    assert record.detail.endswith(KILLED)
    assert timed.end_utc is not None
    assert abs((timed.end_utc - at(54.2)).total_seconds()) < 0.5


def test_a_forgotten_problem_does_not_come_back_with_its_end(path: Path) -> None:
    clock = FakeClock()
    clock.wall = at(1000)
    store = make_store(path, clock)
    store.write([trouble(), trouble(kind="deaf", start_seconds=500)])
    forgotten = forget(path, None, at(1000))
    assert forgotten.health == 2
    store.write(
        [trouble("cleared"), trouble("cleared", kind="deaf", start_seconds=500)]
    )
    store.close()
    assert found(path) == []


def test_only_health_problems_after_the_time_are_forgotten(path: Path) -> None:
    over = [trouble(it, seconds=30) for it in ("raised", "cleared")]
    later = [
        trouble(it, kind="deaf", start_seconds=300) for it in ("raised", "cleared")
    ]
    stored(path, *over, *later)
    assert forget(path, at(100), at(1000)).health == 1
    assert [record.kind for record in records(path)] == ["clipping"]


def test_old_health_problems_are_deleted_unless_they_go_on(path: Path) -> None:
    stored(path, trouble(), trouble("cleared"), trouble(kind="deaf", number=2))
    clock = FakeClock()
    clock.wall = at(0) + timedelta(days=10)
    # The session is the same one, so that nothing counts as left open by a kill.
    store = make_store(path, clock, settings=StoreSettings(keep_days=5))
    for _ in range(30):  # it takes hours to believe the clock
        clock.advance(1000)
        store._maintenance.run_if_due()
    assert rows(path, "SELECT kind FROM health") == ["deaf"]
    store.close()


def test_the_report_of_a_day_has_a_line_for_each_period(path: Path) -> None:
    stored(
        path,
        trouble(),
        trouble("cleared"),
        trouble(number=2, start_seconds=900),
        trouble(kind="deaf", start_seconds=90_000),  # on the next day
    )
    selection = Selection(OPENED.date(), OPENED.date(), at(2000), UTC)
    with open_to_read(path) as reader:
        report = report_day(reader, selection)
    bounds = (report.start, report.end)
    assert [round(duration_of(it, bounds)) for it in report.health] == [10, 1100]


def test_a_name_that_is_too_long_is_damage(path: Path) -> None:
    store = make_store(path)
    store.write([event(number=1), event(number=2)])
    store.close()
    day = OPENED.date()
    selection = Selection(day, day, OPENED + timedelta(hours=1))
    with closing(open_database(path).connect()) as connection:
        for label, count in (("x" * 63, 2), ("x" * 2**20, 1)):
            connection.execute(
                "UPDATE events SET label = ? WHERE sequence = 1", (label,)
            )
            with open_to_read(path) as reader:
                assert len(list(reader.events())) == count
                assert len(reader.events_page(EventFilters()).events) == count
                assert len(reader.event_labels()) == count
                assert len(set(reader.labels()) - set(LABELS)) == count - 1
                assert len(sound_calendar(reader, selection)) == count
