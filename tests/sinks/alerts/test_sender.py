"""Senders deliver at least once, in order, and are held up by nothing."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.clock import SystemClock
from monitor.config.hooks import WebhookSettings
from monitor.sinks.alerts.alert import Alert, Attempt
from monitor.sinks.alerts.hooks import Delivered, Hook, Outcome, Refused, Retry
from monitor.sinks.alerts.hooks.webhook import Webhook
from monitor.sinks.alerts.outbox import Outbox, write_alerts
from monitor.sinks.alerts.schedule import back_off_seconds
from monitor.sinks.alerts.sender import Sender
from monitor.sinks.store.database import Database, transaction
from tests.support.alert_hooks import FakeHook, PickyHook, StuckHook
from tests.support.alerts import alert
from tests.support.clock import FakeClock, wait_until
from tests.support.endpoint import dripping, running_endpoint, silent
from tests.support.store import open_database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path / "monitor.db")


def put(database: Database, *alerts: Alert) -> None:
    with closing(database.connect()) as connection, transaction(connection):
        write_alerts(connection, alerts)


def now_alerts(count: int, endpoint: str = "siren/webhook") -> list[Alert]:
    return [alert(n, endpoint, created=datetime.now(UTC)) for n in range(count)]


@contextmanager
def running(
    database: Database, hook: Hook, endpoint: str = "siren/webhook", jitter: float = 0.0
) -> Iterator[Sender]:
    sender = Sender(endpoint, hook, Outbox(database), SystemClock(), lambda: jitter)
    stop = threading.Event()
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    try:
        yield sender
    finally:
        stop.set()
        sender.wake()
        thread.join(5)
        assert not thread.is_alive()


def note_attempts(database: Database, attempts: int) -> None:
    """Let the first alert have been tried so often in an earlier run."""
    with closing(Outbox(database)) as outbox:
        entry = replace(outbox.entries()[0], attempts=attempts)
        outbox.record(entry, Attempt(datetime.now(UTC), "retry", "down", 0.1))


def states(database: Database) -> list[tuple[str, int]]:
    with closing(database.connect()) as connection:
        rows = connection.execute(
            "SELECT state, attempts FROM alerts ORDER BY sequence"
        )
        return list(rows)


@settings(deadline=None)
@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_the_back_off_grows_to_an_hour(failures: int, draw: float) -> None:
    seconds = back_off_seconds(failures, lambda: draw)
    assert 0.05 <= seconds <= min(3600, 2 ** (failures - 1))
    assert back_off_seconds(100, lambda: 0.999) > 3500


def test_alerts_are_delivered_in_order_and_again_after_failures(
    database: Database,
) -> None:
    put(database, *now_alerts(4))
    hook = FakeHook(Delivered(), Retry("down"), Retry("down", 0.01))
    with running(database, hook):
        wait_until(lambda: len(hook.taken) == 6)
        wait_until(lambda: states(database)[-1][0] == "delivered")
    assert hook.numbers == [0, 1, 1, 1, 2, 3]
    assert states(database) == [
        ("delivered", 1),
        ("delivered", 3),
        ("delivered", 1),
        ("delivered", 1),
    ]
    assert hook.closed


def test_a_refused_alert_is_dead_and_the_next_one_is_delivered(
    database: Database,
) -> None:
    put(database, *now_alerts(2))
    hook = FakeHook(Refused("HTTP 400"))
    with running(database, hook):
        wait_until(lambda: states(database)[1][0] == "delivered")
    assert states(database) == [("dead", 1), ("delivered", 1)]


def test_an_alert_past_its_deadline_is_tried_and_then_given_up(
    database: Database,
) -> None:
    """After a restart, the clock may show anything."""
    before = datetime.now(UTC) - timedelta(days=400)
    old = [alert(n, created=before, seconds=0.01) for n in range(2)]
    put(database, *old, *now_alerts(3)[2:])
    hook = FakeHook(Delivered(), Retry("down"))
    with running(database, hook):
        wait_until(lambda: states(database)[2][0] == "delivered")
    assert states(database) == [("delivered", 1), ("dead", 1), ("delivered", 1)]


def test_an_alert_that_alone_fails_holds_up_no_other(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    put(database, *now_alerts(4))
    note_attempts(database, 4)
    hook = PickyHook()
    with running(database, hook):
        wait_until(lambda: [s for s, _ in states(database)[1:]] == ["delivered"] * 3)
        put(database, *now_alerts(5)[4:])
        wait_until(lambda: states(database)[-1][0] == "delivered")
    assert hook.numbers[:2] == [0, 1]
    assert [number for number in hook.numbers if number] == [1, 2, 3, 4]
    assert states(database)[0][0] == "pending"
    assert caplog.text.count("did not reach") == 1
    assert caplog.text.count("the others pass it") == 1


def test_an_alert_passed_over_that_is_dropped_is_not_delivered(
    database: Database,
) -> None:
    put(database, *now_alerts(2))
    note_attempts(database, 4)
    hook = PickyHook()
    with running(database, hook), closing(Outbox(database)) as outbox:
        wait_until(lambda: states(database)[1][0] == "delivered")
        assert outbox.drop(hook.taken[0].id)
        count = len(hook.taken)
        put(database, *now_alerts(3)[2:])
        wait_until(lambda: states(database)[2][0] == "delivered")
    assert hook.numbers[count:] in ([2], [0, 2])


def test_an_attempt_by_hand_is_made_at_the_first_in_order(database: Database) -> None:
    """Whichever alert is asked for, while its endpoint has a long pause."""
    put(database, *now_alerts(3), alert(7, "dog/webhook"))
    hook = FakeHook(Retry("down", 1000), Retry("down"), Retry("down"), Delivered())
    with running(database, hook) as sender, closing(Outbox(database)) as outbox:
        wait_until(lambda: len(hook.taken) == 1)
        found = [entry.alert for entry in outbox.entries()]
        by_number = {each.body["number"]: each.id for each in found}
        sender.try_now(by_number[7])
        sender.try_now(by_number[2])
        wait_until(lambda: len(hook.taken) == 2)
        sender.try_now(by_number[0])
        wait_until(lambda: len(hook.taken) == 3)
        wait_until(lambda: states(database)[0] == ("pending", 3))
        sender.try_now("unknown")
        sender.try_now(by_number[2])
        wait_until(lambda: states(database)[0] == ("delivered", 4))
    assert hook.numbers[:4] == [0, 0, 0, 0]


def test_an_alert_passed_over_is_tried_by_hand(database: Database) -> None:
    put(database, *now_alerts(2))
    note_attempts(database, 9)
    hook = PickyHook()
    with running(database, hook, jitter=1.0) as sender:
        wait_until(lambda: states(database)[1][0] == "delivered")
        wait_until(lambda: sender.is_idle)
        count = len(hook.taken)
        sender.try_now(hook.taken[0].id)
        wait_until(lambda: len(hook.taken) == count + 1)
    assert hook.numbers[-1] == 0


def test_retry_after_is_obeyed(database: Database) -> None:
    put(database, *now_alerts(1))
    hook = FakeHook(Retry("busy", 1000.0))
    with running(database, hook):
        wait_until(lambda: states(database)[0][1] == 1)
    outbox = Outbox(database)
    (entry,) = outbox.entries()
    outbox.close()
    ahead = entry.next_attempt - datetime.now(UTC)
    assert timedelta(seconds=980) < ahead <= timedelta(seconds=1000)


def test_the_back_off_goes_on_after_a_restart(database: Database) -> None:
    put(database, *now_alerts(1))
    note_attempts(database, 9)
    with closing(Outbox(database)) as outbox:
        hook = FakeHook(Retry("down"))
        with running(database, hook, jitter=0.999):
            wait_until(lambda: states(database)[0][1] == 10)
        (entry,) = outbox.entries()
    assert entry.next_attempt - datetime.now(UTC) > timedelta(seconds=400)


def test_one_slow_endpoint_delays_no_other(database: Database) -> None:
    stuck, quick = StuckHook(), FakeHook()
    for number in range(20):
        put(database, alert(number, "a/webhook", created=datetime.now(UTC)))
        put(database, alert(number, "b/webhook", created=datetime.now(UTC)))
    stuck.total_seconds = 60
    with running(database, stuck, "a/webhook"), running(database, quick, "b/webhook"):
        wait_until(lambda: stuck.taken)
        wait_until(lambda: len(quick.taken) == 20)
        assert stuck.numbers == [0]
        stuck.release.set()
    assert quick.numbers == list(range(20))


def test_a_delivery_that_hangs_is_not_begun_a_second_time(database: Database) -> None:
    put(database, *now_alerts(1))
    hook = StuckHook()
    with running(database, hook):
        wait_until(lambda: states(database)[0][1] >= 2)
        assert len(hook.taken) == 1
        hook.release.set()
        wait_until(lambda: states(database)[0][0] == "delivered")


@pytest.mark.parametrize("behaviour", [silent, dripping(b"HTTP/1.1 2")])
def test_a_drip_does_not_hold_longer_than_the_total_limit(
    database: Database, behaviour: Callable[..., None]
) -> None:
    put(database, *now_alerts(1))
    with running_endpoint(behaviour) as endpoint:
        hook = Webhook(WebhookSettings(url=endpoint.url, total_seconds=0.3), "x", {})
        with running(database, hook):
            wait_until(lambda: states(database)[0][1])
    outbox = Outbox(database)
    (entry,) = outbox.entries()
    outbox.close()
    # The hook's own limit may come first, which holds for a single read.
    assert entry.last_error in ("took longer than 0.3 s", "no answer in 0.3 s")


@pytest.mark.parametrize("behaviour", [silent, dripping(b"HTTP/1.1 2")])
def test_stopping_in_the_middle_of_a_delivery_loses_nothing(
    database: Database, behaviour: Callable[..., None]
) -> None:
    put(database, *now_alerts(1))
    with running_endpoint(behaviour) as endpoint:
        hook = Webhook(WebhookSettings(url=endpoint.url, total_seconds=60), "x", {})
        with running(database, hook):  # whose end waits less than 60 s
            endpoint.wait_for(1)
    assert states(database) == [("pending", 0)]


def test_a_hook_that_fails_unexpectedly_is_tried_again(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeHook):
        def deliver(self, alert: Alert) -> Outcome:
            super().deliver(alert)
            if len(self.taken) == 1:
                raise ZeroDivisionError
            return Delivered()

    put(database, *now_alerts(1))
    hook = Broken()
    with running(database, hook):
        wait_until(lambda: states(database)[0] == ("delivered", 2))
    assert any("failed unexpectedly" in r.getMessage() for r in caplog.records)


def test_an_alert_whose_attempt_cannot_be_stored_is_not_delivered_again(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Here another process holds the database; a full disk is the same."""
    put(database, *now_alerts(2))
    hook = FakeHook()
    blocker = sqlite3.connect(database.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with running(Impatient(database.path), hook):
        wait_until(lambda: len(hook.taken) == 2 and "does not work" in caplog.text)
        blocker.execute("ROLLBACK")
        wait_until(lambda: states(database) == [("delivered", 1)] * 2)
    blocker.close()
    assert hook.numbers == [0, 1]
    assert sum("does not work" in message for message in caplog.messages) == 1


def test_alerts_that_cannot_be_stored_are_delivered_from_memory_once(
    tmp_path: Path,
) -> None:
    database = Database(tmp_path / "monitor.db")  # is not made yet
    clock, hook = FakeClock(), FakeHook(Delivered(), Retry("down", 1.0))
    sender = Sender("siren/webhook", hook, Outbox(database), clock)
    stop = threading.Event()
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    alerts = [alert(number, created=clock.wall) for number in range(3)]
    sender.offer(alerts)
    sender.wake()
    assert not hook.taken  # there is still hope

    def advanced_until(condition: Callable[[], object]) -> bool:
        clock.advance(0.1)
        return bool(condition())

    wait_until(lambda: advanced_until(lambda: hook.numbers == [0, 1, 1, 2]))
    database.prepare()
    put(database, *alerts, alert(3, created=clock.wall))
    sender.confirm()
    wait_until(lambda: advanced_until(lambda: hook.numbers == [0, 1, 1, 2, 3]))
    wait_until(lambda: {state for state, _ in states(database)} == {"delivered"})
    stop.set()
    clock.advance(10)
    thread.join(5)
    assert not thread.is_alive()


class Impatient(Database):
    """Does not wait five seconds for another writer."""

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        connection = super().connect(read_only=read_only)
        connection.execute("PRAGMA busy_timeout = 10")
        return connection


def test_a_database_that_was_replaced_is_found(database: Database) -> None:
    put(database, *now_alerts(1))
    hook = FakeHook()
    with running(database, hook) as sender:
        wait_until(lambda: states(database)[0][0] == "delivered")
        database.set_aside(OSError("for a test"))
        database.prepare()
        put(database, *now_alerts(3)[2:])
        sender.wake()
        wait_until(lambda: len(hook.taken) == 2)
    assert hook.numbers == [0, 2]


def test_failures_are_logged_once_and_their_end_too(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    put(database, *now_alerts(1))
    hook = FakeHook(*[Retry("down", 0.0)] * 3)
    with running(database, hook):
        wait_until(lambda: states(database)[0][0] == "delivered")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "after 3 failed attempts" in caplog.messages[1]


def test_a_dropped_alert_stays_dropped(database: Database) -> None:
    put(database, *now_alerts(1))
    hook = StuckHook()
    hook.total_seconds = 60
    outbox = Outbox(database)
    with running(database, hook):
        wait_until(lambda: hook.taken)
        assert outbox.drop(hook.taken[0].id)
        hook.release.set()
    assert states(database) == [("dropped", 0)]
    outbox.close()


def test_a_retired_sender_ends_with_the_delivery_at_hand(database: Database) -> None:
    """It is delivered once; the others are left to the sender that follows."""
    put(database, *now_alerts(3))
    before, after = StuckHook(), FakeHook()
    before.total_seconds = 60
    with running(database, before) as sender:
        wait_until(lambda: before.taken)
        sender.retire()
        before.release.set()
        wait_until(lambda: before.closed)
    with running(database, after):
        wait_until(lambda: len(after.taken) == 2)
    assert before.numbers == [0]
    assert after.numbers == [1, 2]
    assert states(database) == [("delivered", 1)] * 3
