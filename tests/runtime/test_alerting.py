"""Alerting hands over to the alerting of another configuration, in order."""

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.runtime.alerting import Alerting
from monitor.runtime.threads import Threads
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.hooks import Delivered, Outcome, Retry
from monitor.sinks.alerts.outbox import write_alerts
from monitor.sinks.alerts.rules import Rules
from monitor.sinks.store.database import Database, transaction
from tests.support.alert_hooks import FakeHook
from tests.support.alerts import alert, rule
from tests.support.clock import FakeClock, wait_until
from tests.support.store import open_database
from tests.support.timed import SAMPLE_RATE, onset

DEADLINE_SECONDS = 20.0
ENDPOINT = "siren/webhook"


class SlowHook:
    """Delivers when it is released, and notes which alert it was given."""

    target = "nowhere"
    total_seconds = DEADLINE_SECONDS

    def __init__(self, name: str, deliveries: list[tuple[str, int]]) -> None:
        self._name = name
        self._deliveries = deliveries
        self.began, self.release = threading.Event(), threading.Event()
        self.enough = threading.Event()

    def deliver(self, alert: Alert) -> Outcome:
        self._deliveries.append((self._name, alert.body["number"]))
        self.began.set()
        assert self.release.wait(DEADLINE_SECONDS)
        if len(self._deliveries) == 3:
            self.enough.set()
        return Delivered()

    def cancel(self) -> None:
        self.release.set()

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = open_database(tmp_path / "monitor.db")
    alerts = [alert(n, ENDPOINT, created=datetime.now(UTC)) for n in range(3)]
    with closing(database.connect()) as connection, transaction(connection):
        write_alerts(connection, alerts)
    return database


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads()
    yield threads
    threads.stop.set()
    assert threads.join(DEADLINE_SECONDS) == []
    assert threads.failure is None


def alerting(database: Database, hook: SlowHook) -> Alerting:
    return Alerting(Rules([], {}, 44_100), {ENDPOINT: hook}, database, SystemClock())


def test_a_delivery_in_flight_ends_before_the_next_configuration_delivers(
    database: Database, threads: Threads
) -> None:
    deliveries: list[tuple[str, int]] = []
    before, after = SlowHook("before", deliveries), SlowHook("after", deliveries)
    after.release.set()
    first, second = alerting(database, before), alerting(database, after)
    first.start(threads)
    assert before.began.wait(DEADLINE_SECONDS)
    second.start(threads, first)
    assert not after.began.wait(0.3)
    before.release.set()
    assert after.enough.wait(DEADLINE_SECONDS)
    assert deliveries == [("before", 0), ("after", 1), ("after", 2)]


@pytest.mark.parametrize("is_changed", [False, True])
def test_the_pause_of_an_endpoint_outlasts_a_reload_that_leaves_it_as_it_is(
    database: Database, threads: Threads, is_changed: bool
) -> None:
    asked = FakeHook(Retry("busy", 3600.0))
    hooks = [asked, *(FakeHook() for _ in range(3))]
    before: Alerting | None = None
    for number, hook in enumerate(hooks):
        settings = {ENDPOINT: (is_changed and number == 3)}
        rules = Rules([], {}, 44_100)
        after = Alerting(rules, {ENDPOINT: hook}, database, SystemClock(), settings)
        after.start(threads, before)
        if before is None:
            wait_until(lambda: asked.numbers == [0])
        before = after
    assert before is not None
    wait_until(lambda: hooks[2].closed)
    if is_changed:
        wait_until(lambda: hooks[-1].numbers == [0, 1, 2])
    else:
        assert before.finish(threads, DEADLINE_SECONDS, lambda: False) == []
        assert [hook.numbers for hook in hooks] == [[0], [], [], []]


def test_pending_alerts_are_delivered_at_the_end_or_stay(
    database: Database, threads: Threads
) -> None:
    deliveries: list[tuple[str, int]] = []
    hook = SlowHook("only", deliveries)
    hook.release.set()
    only = alerting(database, hook)
    only.start(threads)
    assert only.finish(threads, DEADLINE_SECONDS, lambda: False) == []
    assert [number for _, number in deliveries] == [0, 1, 2]


@pytest.mark.parametrize("days", [-5, 0, 5])
def test_a_cooldown_lasts_as_long_if_the_clock_is_set(
    database: Database, days: int
) -> None:
    clock = FakeClock()
    rules = Rules([rule(cooldown_seconds=600, max_per_hour=2)], {}, SAMPLE_RATE)
    made = Alerting(rules, {}, database, clock)

    def alerts(number: int) -> list[str]:
        sound = [onset(number=number, label="siren")]
        return [alert.kind for alert in made.step(sound, clock.utc())]

    assert alerts(1) == ["onset"]
    clock.wall += timedelta(days=days)
    made.tick(clock.utc())
    clock.advance(599)
    assert alerts(2) == []
    clock.advance(1)
    assert alerts(3) == ["onset"]
    clock.advance(600)
    assert alerts(4) == []  # beyond the quota: held back
    clock.wall -= timedelta(days=days)
    clock.advance(3599)
    assert made.tick(clock.utc()) == []
    clock.advance(1)
    assert [alert.kind for alert in made.tick(clock.utc())] == ["digest"]
