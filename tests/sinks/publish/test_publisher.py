"""Every record reaches the broker once or more, in order, whatever fails."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config.outputs import StoreSettings
from monitor.records import Health, HealthState
from monitor.sinks.publish.publisher import EncodedRecord, Pauses
from monitor.sinks.store.database import transaction
from monitor.sinks.store.forget import forget
from monitor.sinks.store.salvage import damage
from tests.support.broker import Broker, needs_mosquitto
from tests.support.clock import FakeClock, wait_until
from tests.support.publishing import (
    NOT_PUBLISHED,
    SHORT,
    Collector,
    is_whole,
    mqtt_transport,
    published_store,
    publishing,
)
from tests.support.store import open_database, rows, score_frames
from tests.support.timed import OPENED, event, gap, onset, statistics, timed

pytestmark = needs_mosquitto

NO_PATIENCE = Pauses(first_retry=0.05, last_retry=0.1, health=0.0)


def health(state: HealthState) -> object:
    detail = "too loud" if state == "raised" else ""
    return timed(Health("street", 0, 44_100, "clipping", state, detail, "health-1"))


def test_every_record_arrives_in_order_and_is_valid(
    path: Path, broker: Broker, collector: Collector
) -> None:
    store = published_store(path)
    store.write([onset(number=1), event(number=1), gap(), event(number=2, opened=None)])
    store.write([health("raised"), health("cleared")])
    store.write(score_frames(250))
    store.close()
    with publishing(path, mqtt_transport(broker.port)) as publisher:
        collector.wait_for("scores", 3)
        wait_until(lambda: publisher.document["pending"] == 0)
    assert collector.sequences == sorted(collector.sequences)
    assert is_whole(collector.sequences)
    records = ["onset", "event", "gap", "event", "health", "health"]
    assert collector.types() == ["session", *records, "scores", "scores", "scores"]
    by_sequence = collector.by_sequence()
    session, begun, ended, lost, _, raised, cleared, scores, *_ = (
        by_sequence[number].record for number in sorted(by_sequence)
    )
    assert session["labels"][0] == "air_conditioner"
    assert (session["version"], session["site"]) == ("1.2.3", "north")
    assert begun["id"] == ended["id"] == "session-street-1"
    assert (begun["end"], begun["end_reason"]) == (None, None)
    assert ended["end_reason"] == "offset"
    assert lost["end_reason"] == "unplugged"
    assert (raised["state"], raised["end"]) == ("raised", None)
    assert cleared["state"] == "cleared"
    assert scores["frames"] == 101
    assert {each["session"] for each in (begun, lost, raised, scores)} == {"session"}


def test_nothing_is_queued_while_nothing_is_published(path: Path) -> None:
    store = published_store(path, about=None)
    store.write([onset(), event(), gap()])
    store.close()
    assert rows(path, "SELECT count(*) FROM outgoing") == [0]


def test_scores_are_left_out_on_request(path: Path) -> None:
    store = published_store(path, about=NOT_PUBLISHED)
    store.write([*score_frames(250), event()])
    store.close()
    found = rows(path, "SELECT type FROM outgoing ORDER BY sequence")
    assert found == ["session", "event"]


def test_publishing_that_was_off_begins_a_new_epoch(path: Path) -> None:
    for about in ("x", None, "x"):
        store = published_store(path, about=NOT_PUBLISHED if about else None)
        store.write([event(number=1)])
        store.write([event(number=2)])
        store.close()
    assert rows(path, "SELECT sequence, type FROM outgoing") == [(1, "session")]


def test_the_digest_tells_the_newest_sequence_and_the_sources(
    path: Path, broker: Broker, collector: Collector
) -> None:
    store = published_store(path)
    store.write([event()])
    with publishing(path, mqtt_transport(broker.port), digest_seconds=1.0):
        wait_until(lambda: "digest" in [it.type for it in collector.messages])
        digest = next(it for it in collector.messages if it.type == "digest")
        assert digest.record["last"] >= digest.sequence
        assert [it["name"] for it in digest.record["sources"]] == ["street"]
    store.close()


def test_records_wait_for_a_broker_and_for_a_collector(
    path: Path, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.stop()
    store = published_store(path)
    with publishing(path, mqtt_transport(broker.port)) as publisher:
        for number in range(20):
            store.write([event(number=number)])
        wait_until(lambda: publisher.document["problem"])
        broker.start()
        wait_until(
            lambda: "no collector" in (publisher.document["problem"] or ""),
            str(publisher.document),
        )
        assert publisher.document["pending"] >= 21
        collector = Collector(broker.port)
        collector.wait_for("event", 20)
        wait_until(lambda: not publisher.document["problem"])
        collector.close()
    store.close()
    assert is_whole(collector.sequences)
    assert caplog.text.count("nothing is published") == 1


def test_a_broker_that_is_killed_again_and_again_loses_nothing(
    path: Path, broker: Broker, collector: Collector
) -> None:
    store = published_store(path)
    with publishing(path, mqtt_transport(broker.port)) as publisher:
        for number in range(60):
            store.write([event(number=number)])
            publisher.write([event()])
            if number in (20, 40):
                collector.wait_for("event", number - 5)
                broker.stop()
                broker.start()
        store.close()
        wait_until(lambda: publisher.document["pending"] == 0)
        (epoch,) = collector.epochs
        # What a dead broker had acknowledged: the collector asks for it.
        (last,) = rows(path, "SELECT max(sequence) FROM outgoing")
        missing = set(range(1, last + 1)) - set(collector.sequences)
        if missing:
            collector.ask("yard", epoch, (min(missing), max(missing)))
        wait_until(
            lambda: set(collector.sequences) >= set(range(1, last + 1)), str(missing)
        )
    assert len(set(collector.ids())) == 60


def test_what_a_collector_wants_is_sent_again(
    path: Path, broker: Broker, collector: Collector
) -> None:
    store = published_store(path)
    store.write([event(number=number) for number in range(300)])
    pauses = replace(SHORT, wanted=0.0)
    with publishing(path, mqtt_transport(broker.port), pauses=pauses) as publisher:
        collector.wait_for("event", 300)
        (epoch,) = collector.epochs
        collector.messages.clear()
        collector.ask("yard", epoch, (3, 3), (10, 250), (299, 10_000))
        wanted = [3, *range(10, 251), *range(299, 302)]
        wait_until(lambda: set(wanted) <= set(collector.sequences))
        collector.messages.clear()
        # Of strangers, or nonsense: nothing comes, and the publisher goes on.
        collector.ask("yard", "ab" * 16, (1, 5))
        collector.client.publish("sound-monitor-fleet/yard/wanted", b"{", qos=1)
        store.write([event(number=301)])
        publisher.write([event()])
        collector.wait_for("event")
        assert collector.ids() == ["session-street-301"]
    store.close()


def test_what_was_deleted_before_it_was_sent_is_a_record(
    path: Path, broker: Broker, collector: Collector
) -> None:
    store = published_store(path)
    store.write([event(number=1), gap()])
    store.write(score_frames(250))
    store.close()
    with closing(open_database(path).connect()) as connection, transaction(connection):
        connection.execute("DELETE FROM scores WHERE id = 1")
        connection.execute("UPDATE gaps SET reason = 'nonsense'")
        connection.execute("DELETE FROM outgoing WHERE type = 'event'")
    with publishing(path, mqtt_transport(broker.port)):
        collector.wait_for("scores", 2)
    found = [it.record for it in collector.messages if it.type == "deleted"]
    assert [it["type"] for it in found] == [None, "gap", "scores"]
    assert found[1]["at"] == "2026-11-23T05:56:30.000Z"
    assert is_whole(collector.sequences)


def test_a_month_offline_costs_the_oldest_scores_and_no_event(
    path: Path, broker: Broker, collector: Collector
) -> None:
    clock = FakeClock()
    clock.wall = OPENED
    store = published_store(path, clock, settings=StoreSettings(max_mib=1))
    for day in range(31):
        opened = OPENED + timedelta(days=day)
        clock.wall = opened + timedelta(hours=1)
        store.write([event(number=day, opened=opened)])
        start = int(opened.timestamp() * 1000)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executemany(
                "INSERT INTO scores (session, source, start_ms, end_ms, start_sample, "
                "window_samples, hop_samples, frames, format, data) "
                "VALUES (1, 1, ?1, ?1 + 60000, 0, 1, 1, 100, 2, randomblob(3000))",
                [(start + 60_000 * minute,) for minute in range(24)],
            )
        for _ in range(20):
            clock.advance(61)
            store.report(statistics())
    store.close()
    assert path.stat().st_size < 3 * 2**20
    with publishing(path, mqtt_transport(broker.port)) as publisher:
        wait_until(lambda: publisher.document["pending"] == 0)
        collector.wait_for("event", 31)
    assert is_whole(collector.sequences)
    ordered = [it for _, it in sorted(collector.by_sequence().items())]
    gone = [it for it in ordered if it.type == "deleted"]
    kept = [it for it in ordered if it.type == "scores"]
    assert {it.record["type"] for it in gone} == {"scores"}
    assert kept
    assert max(it.record["at"] for it in gone) < min(it.record["start"] for it in kept)


def test_what_was_forgotten_is_not_published(
    path: Path, broker: Broker, collector: Collector
) -> None:
    store = published_store(path)
    store.write([event(number=1), gap(), health("raised")])
    store.write(score_frames(50))
    store.close()
    forget(path, None, OPENED + timedelta(days=1))
    with publishing(path, mqtt_transport(broker.port)) as publisher:
        wait_until(lambda: publisher.document["pending"] == 0)
        wait_until(
            lambda: is_whole(collector.sequences) and len(collector.sequences) > 4
        )
    assert collector.types() == ["session", *["deleted"] * 4]
    assert {it.record.get("at") for it in collector.messages} == {None}


def test_a_database_that_is_set_aside_goes_on_in_a_new_epoch(
    path: Path, broker: Broker, collector: Collector
) -> None:
    store = published_store(path)
    store.write([event(number=1)])
    with publishing(path, mqtt_transport(broker.port)) as publisher:
        collector.wait_for("event")
    store.write([event(number=2)])
    store.write([onset(number=3), *score_frames(120)])
    store.close()
    (last,) = rows(path, "SELECT max(sequence) FROM outgoing")
    open_database(path).set_aside(damage("for the test"))
    store = published_store(path, run="next")
    store.write([event(number=4)])
    with publishing(path, mqtt_transport(broker.port)) as publisher:
        collector.wait_for("event", 1)
        wait_until(lambda: publisher.document["pending"] == 0)
        before, after = collector.epochs
        collector.ask("yard", before, (last, last))
        wait_until(lambda: last in collector.by_sequence(before))
    store.close()
    assert is_whole([*collector.by_sequence(after)])
    ids = [
        it.record["id"]
        for it in collector.by_sequence(after).values()
        if it.type == "event"
    ]
    assert ids == ["session-street-2", "session-street-3", "session-street-4"]
    session = next(
        it
        for it in collector.by_sequence(after).values()
        if it.type == "session" and it.record["session"] == "next"
    )
    assert session.record["previous"] == {"epoch": before, "last": last}
    assert collector.by_sequence(before)[last].type == "deleted"


def test_a_lost_database_is_a_new_epoch(
    path: Path, broker: Broker, collector: Collector
) -> None:
    with publishing(path, mqtt_transport(broker.port)):
        for run in ("one", "two"):
            store = published_store(path, run=run)
            store.write([event(number=1)])
            wait_until(
                lambda run=run: len(collector.ids()) == ("one", "two").index(run) + 1
            )
            store.close()
            path.unlink()
    assert len(collector.epochs) == 2


class LookingTransport:
    """Looks into the database, from outside, when something is sent."""

    is_connected = True
    target = "nowhere"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sent: list[tuple[int, int]] = []
        """Sequence, and what was durable when it was sent."""

    def send(self, messages: Sequence[EncodedRecord]) -> list[int]:
        (durable,) = rows(self.path, "SELECT durable FROM publishing")
        self.sent += [(json.loads(it.payload)["sequence"], durable) for it in messages]
        return []

    def open(self) -> None: ...

    def take_wanted(self) -> list[bytes]:
        return []

    def wait(self, wakeup, seconds: float) -> None:  # type: ignore[no-untyped-def]
        wakeup.wait(seconds)

    def cancel(self) -> None: ...

    def close(self) -> None: ...


def test_what_is_sent_survives_a_power_cut(path: Path) -> None:
    """SQLite syncs a commit, and all before it, with FULL alone, if a page changes."""
    statements: list[str] = []
    store = published_store(path)
    transport = LookingTransport(path)
    with publishing(path, transport) as publisher:
        wait_until(lambda: transport.sent)
        publisher._queue._at_path.get().set_trace_callback(statements.append)
        store.write([event()])
        store.write(score_frames(250))  # committed without a sync
        publisher.write([event()])
        wait_until(lambda: len(transport.sent) > 2)
    store.close()
    assert all(sequence <= durable for sequence, durable in transport.sent)
    is_update = [it.startswith("UPDATE publishing") for it in statements]
    assert statements.index("PRAGMA synchronous = FULL") < is_update.index(True)


@pytest.mark.parametrize(("failures", "seconds"), [(0, 1), (3, 8), (9, 60), (5000, 60)])
def test_the_pause_after_failures_doubles_up_to_a_minute(
    failures: int, seconds: float
) -> None:
    assert Pauses().retry(failures) == seconds


def test_a_long_outage_is_a_health_problem_that_ends(
    path: Path, broker: Broker, collector: Collector
) -> None:
    reports: list[tuple[HealthState, str]] = []
    broker.stop()
    store = published_store(path)
    with publishing(
        path, mqtt_transport(broker.port), reports=reports, pauses=NO_PATIENCE
    ):
        wait_until(lambda: reports)
        assert reports[0][0] == "raised"
        broker.start()
        wait_until(lambda: reports[-1] == ("cleared", ""))
    store.close()


def test_a_publisher_that_is_closed_leaves_no_problem(
    path: Path, broker: Broker
) -> None:
    reports: list[tuple[HealthState, str]] = []
    broker.stop()
    store = published_store(path)
    with publishing(
        path, mqtt_transport(broker.port), reports=reports, pauses=NO_PATIENCE
    ):
        wait_until(lambda: reports)
    assert reports[-1] == ("cleared", "")
    store.close()
