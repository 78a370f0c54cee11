"""Old and surplus rows are deleted; recent ones stay."""

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config.outputs import StoreSettings
from monitor.sinks.store.maintenance import INTERVAL_SECONDS, MAX_ROWS
from tests.support.clock import FakeClock
from tests.support.store import AlertOnEverything, make_store, rows, score_frames
from tests.support.timed import OPENED, event, frame, gap, onset, statistics

DAY = 86_400


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.wall = OPENED + timedelta(hours=1)
    return clock


def fill(path: Path, clock: FakeClock, settings: StoreSettings, count: int = 20):
    store = make_store(path, clock, settings=settings, rules=AlertOnEverything())
    store.write([onset(number=1), gap()])
    for number in range(2, count):
        store.write([event(number=number, start_seconds=number)])
        # Frames that do not follow each other are rows of their own.
        store.write([frame(stop_seconds=10.0 * number)])
    return store


def grow_old(store: object, clock: FakeClock, seconds: float) -> None:
    clock.advance(seconds)
    for _ in range(100):
        clock.advance(1.0)
        store.report(statistics())


def counts(path: Path) -> dict[str, int]:
    tables = ("events", "gaps", "scores", "alerts")
    return {t: rows(path, f"SELECT count(*) FROM {t}")[0] for t in tables}


def test_recent_rows_are_kept(path: Path, clock: FakeClock) -> None:
    store = fill(path, clock, StoreSettings())
    before = counts(path)
    grow_old(store, clock, DAY)
    store.close()
    assert counts(path) == {**before, "scores": 18}


def test_scores_are_deleted_before_events_by_their_own_age(
    path: Path, clock: FakeClock
) -> None:
    store = fill(path, clock, StoreSettings(keep_days=10, keep_scores_days=2))
    grow_old(store, clock, 3 * DAY)
    assert counts(path) == {"events": 19, "gaps": 1, "scores": 0, "alerts": 19}
    store.close()


def test_old_events_are_deleted_but_not_those_going_on_or_pending_alerts(
    path: Path, clock: FakeClock
) -> None:
    store = fill(path, clock, StoreSettings(keep_days=10))
    grow_old(store, clock, 6 * DAY)
    clock.advance(INTERVAL_SECONDS)
    pending = "SELECT count(*) FROM alerts WHERE state = 'pending'"
    assert rows(path, pending) == [19], "none of them is delivered"
    grow_old(store, clock, 5 * DAY)
    assert rows(path, "SELECT end_reason FROM events") == [None]
    assert counts(path)["gaps"] == 0
    assert rows(path, pending) == [0], "they have no endpoint any more"
    store.close()


def test_a_clock_far_ahead_deletes_nothing_until_it_is_believed(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path, clock, StoreSettings()).close()
    before = counts(path)
    clock.wall += timedelta(days=400)
    for run in ("first", "second"):
        store = make_store(path, clock, run=run)
        store.write([])
        grow_old(store, clock, DAY)
        assert counts(path) == before
        assert caplog.text.count("nothing was recorded for 39") == 1
        caplog.clear()
        store.close()
    # Another configuration, in the same run, does not make it more believable.
    store = make_store(path, clock, run="third", before=store)
    grow_old(store, clock, DAY)
    assert counts(path) == before
    grow_old(store, clock, DAY)
    assert counts(path)["scores"] == counts(path)["gaps"] == 0
    store.close()


def test_a_step_of_the_clock_deletes_nothing(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = fill(path, clock, StoreSettings())
    grow_old(store, clock, DAY)
    before = counts(path)
    clock.wall += timedelta(days=400)
    grow_old(store, clock, INTERVAL_SECONDS)
    clock.wall -= timedelta(days=400)
    grow_old(store, clock, DAY)
    assert counts(path) == before
    store.close()
    assert "the clock was set forward by 400d 00h" in caplog.text
    assert "the clock was set back by 400d 00h" in caplog.text


def test_deleted_rows_are_logged_once_a_day(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = fill(tmp_path / "monitor.db", clock, StoreSettings(keep_scores_days=2))
    grow_old(store, clock, 3 * DAY)
    grow_old(store, clock, INTERVAL_SECONDS)
    store.close()
    (line,) = [m for m in caplog.messages if m.startswith("deleted")]
    assert "18 of scores (older than store.keep_scores_days, 2)" in line


def test_above_its_size_scores_are_deleted_first_then_events(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(path, clock, settings=StoreSettings(max_mib=1))
    store.write([event(number=n, start_seconds=n / 10) for n in range(1000)])
    # Rows of one frame each.
    store.write([timed for n in range(9000) for timed in score_frames(1, first=20 * n)])
    clock.advance(11)
    store.report(statistics())
    assert counts(path)["scores"] > 8000
    grow_old(store, clock, INTERVAL_SECONDS)
    found = counts(path)
    assert found["events"] == 1000
    assert 0 < found["scores"] < 9000
    oldest = rows(path, "SELECT min(start_sample) FROM scores")[0]
    assert oldest > 0
    assert path.stat().st_size < 1.4 * 2**20
    store.close()


def test_many_old_rows_are_gone_within_seconds(
    tmp_path: Path, clock: FakeClock
) -> None:
    """Else a monitor that was off for weeks would keep them for hours."""
    path = tmp_path / "monitor.db"
    store = make_store(path, clock, settings=StoreSettings(keep_scores_days=2))
    many = 2 * MAX_ROWS + 1
    store.write([timed for n in range(many) for timed in score_frames(1, first=20 * n)])
    grow_old(store, clock, DAY)
    assert counts(path)["scores"] == many
    clock.advance(2 * DAY)
    for _ in range(5):
        clock.advance(1.0)
        store.report(statistics())
    assert counts(path)["scores"] == 0
    store.close()
