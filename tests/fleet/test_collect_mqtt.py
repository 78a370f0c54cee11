"""Collectors on mosquitto: what is missing comes, and whoever dies costs nothing."""

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.config.publish import FleetBroker
from monitor.fleet.collect.collector import remove_old
from monitor.fleet.collect.database import Keep
from monitor.fleet.collect.subscription import open_subscription
from tests.support.broker import (
    Broker,
    documented_broker,
    needs_mosquitto,
    running_broker,
)
from tests.support.clock import wait_until
from tests.support.fleet import (
    Script,
    all_stored,
    collecting,
    collector_process,
    mqtt_monitors,
    now,
    received,
    refused,
)
from tests.support.postgres import Postgres, needs_postgres

pytestmark = [
    pytest.mark.fleet,
    needs_postgres,
    needs_mosquitto,
    pytest.mark.timeout(300),
]

IMPATIENT = ("tests.support.impatient_collector", "3")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path, "max_queued_messages 100000") as broker:
        yield broker


def missing(server: Postgres) -> list[tuple[int, int, bool, bool]]:
    with server.connect() as connection:
        rows = connection.execute(
            "SELECT first, last, filled IS NOT NULL, given_up IS NOT NULL FROM missing "
            "ORDER BY first"
        ).fetchall()
    return [(first, last, filled, given) for first, last, filled, given in rows]


def test_what_is_missing_is_noticed_asked_for_and_filled(
    server: Postgres, broker: Broker
) -> None:
    script = Script()
    script.add_many(40)
    with (
        collecting(server, broker.url),
        mqtt_monitors(broker.port, script) as monitors,
    ):
        monitors.publish_all(1, *range(11, 21), 33)
        wait_until(lambda: received(server) == "{[1,41)}")
        wait_until(lambda: all(filled for _, _, filled, _ in missing(server)))
    assert all_stored(server) == list(range(1, 41))
    assert [(first, last) for first, last, _, _ in missing(server)] == [
        (1, 1),
        (11, 20),
        (33, 33),
    ]
    assert len(monitors.wanted) >= 1


def test_a_lost_tail_is_noticed_by_the_digest_after_it(
    server: Postgres, broker: Broker
) -> None:
    script = Script()
    script.add_many(5)
    script.add("digest", last=9)  # of a monitor whose next three went nowhere
    with (
        collecting(server, broker.url),
        mqtt_monitors(broker.port, script) as monitors,
    ):
        monitors.publish_all()
        wait_until(lambda: received(server) == "{[1,7)}")
        for _ in range(3):
            script.add("event")
        wait_until(lambda: received(server) == "{[1,10)}")


def test_what_a_monitor_never_sends_is_given_up_once_and_taken_later(
    server: Postgres, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    script.add_many(30)
    with (
        caplog.at_level(logging.WARNING),
        collecting(server, broker.url, ask_after=0.2, most_asked=3),
        mqtt_monitors(broker.port, script) as monitors,
    ):
        monitors.answers = False
        monitors.publish_all(*range(5, 12))

        def is_given_up() -> bool:
            script.add("event")  # only a monitor that sends is asked
            monitors.publish("yard", script.messages[len(script.messages)])
            time.sleep(0.1)
            return missing(server) == [(5, 11, False, True)]

        wait_until(is_given_up)
        asked = len(monitors.wanted)
        assert asked == 3
        time.sleep(2)
        with server.connect() as connection:
            connection.execute(
                "UPDATE missing SET given_up = given_up - interval '9 days'"
            )
            remove_old(connection, Keep(5), now())
        time.sleep(2)
        assert len(monitors.wanted) == asked
        monitors.publish_all()
        last = len(script.messages)
        wait_until(lambda: missing(server) == [(5, 11, True, True)])
        assert all_stored(server) == list(range(1, last + 1))
    sentences = [each for each in caplog.messages if "missing" in each]
    assert len(sentences) == 1
    assert sentences[0].startswith("7 records of yard are missing")


def test_of_two_collectors_one_is_killed_in_a_batch(
    server: Postgres, broker: Broker, tmp_path: Path
) -> None:
    scripts = [Script(f"m{number}") for number in range(10)]
    for script in scripts:
        script.add_many(400)
    url = broker.url
    with (
        mqtt_monitors(broker.port, *scripts) as monitors,
        collector_process(server, url, tmp_path / "a", module=IMPATIENT),
    ):
        with collector_process(server, url, tmp_path / "b") as victim:
            monitors.publish_all()
            wait_until(lambda: len(all_stored(server, "m0")) > 20)
            assert len(all_stored(server, "m9")) < 400, "all had come already"
            victim.kill()

        def is_complete() -> bool:
            time.sleep(0.5)
            for script in scripts:
                number = script.add("digest")
                monitors.publish(script.monitor, script.messages[number])
            ranges = [received(server, script.monitor) for script in scripts]
            found = [re.fullmatch(r"\{\[1,(\d+)\)\}", text) for text in ranges]
            return all(it is not None and int(it[1]) > 400 for it in found)

        wait_until(is_complete)
    for script in scripts:
        found = all_stored(server, script.monitor)
        assert found[:400] == list(range(1, 401))
        assert len(set(found)) == len(found)
    assert refused(server) == {}


def test_the_database_is_killed_and_started_while_records_come(
    own_server: Postgres, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server
    script = Script()
    script.add_many(2000)
    with (
        caplog.at_level(logging.INFO),
        collecting(server, broker.url),
        mqtt_monitors(broker.port, script) as monitors,
    ):
        monitors.publish_all()
        wait_until(lambda: len(all_stored(server)) > 100)
        server.kill()
        script.add_many(10)
        time.sleep(6)
        for number in range(2001, 2011):
            monitors.publish("yard", script.messages[number])
        server.start()
        wait_until(lambda: received(server) == "{[1,2011)}")
    assert all_stored(server) == list(range(1, 2011))
    about = [each for each in caplog.messages if "the database is" in each]
    assert len([each for each in about if "away" in each]) == 1
    assert about[-1] == "the database is back"


def test_a_database_that_hangs_is_left_at_the_end(
    own_server: Postgres, broker: Broker, tmp_path: Path
) -> None:
    script = Script()
    script.add_many(2)
    with (
        collector_process(own_server, broker.url, tmp_path / "home") as process,
        mqtt_monitors(broker.port, script) as monitors,
    ):
        monitors.publish("yard", script.messages[1])
        wait_until(lambda: all_stored(own_server) == [1])
        with own_server.hanging():
            monitors.publish("yard", script.messages[2])
            time.sleep(2)  # until it waits for the database
            process.terminate()
            assert process.wait(60) == 1
    assert "does not answer, and is left" in (tmp_path / "home" / "log").read_text()


def test_the_broker_is_killed_and_started(
    server: Postgres, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    script.add_many(300)
    with (
        caplog.at_level(logging.INFO),
        collecting(server, broker.url),
        mqtt_monitors(broker.port, script) as monitors,
    ):
        monitors.publish_all()
        wait_until(lambda: len(all_stored(server)) > 10)
        broker.stop()
        time.sleep(2)
        broker.start()
        wait_until(monitors.client.is_connected)
        script.add("digest", last=300)

        def is_complete() -> bool:
            time.sleep(0.5)  # it may come before the collector is back
            monitors.publish("yard", script.messages[301])
            return received(server) == "{[1,302)}"

        wait_until(is_complete)
    assert all_stored(server) == list(range(1, 302))
    assert len([each for each in caplog.messages if "trying again" in each]) == 1


def test_a_table_that_is_lost_is_said_and_waited_for(
    server: Postgres, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    script.add("event")
    with (
        caplog.at_level(logging.INFO),
        collecting(server, broker.url),
        mqtt_monitors(broker.port, script) as monitors,
    ):
        with server.connect() as connection:
            connection.execute("ALTER TABLE events RENAME TO hidden")
            monitors.publish_all()
            wait_until(lambda: "the database is away" in caplog.text)
            connection.execute("ALTER TABLE hidden RENAME TO events")
        wait_until(lambda: all_stored(server) == [1])
    away = [each for each in caplog.messages if "away" in each]
    assert len(away) == 1
    assert 'relation "events" does not exist' in away[0]


def test_a_collector_waits_for_a_broker_that_is_not_there_yet(
    server: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path)
    log = tmp_path / "home" / "log"
    with collector_process(server, broker.url, tmp_path / "home", waits=False):
        wait_until(lambda: log.exists() and "trying again" in log.read_text())
        broker.start()
        try:
            wait_until(lambda: "records are collected" in log.read_text())
        finally:
            broker.stop()
    assert log.read_text().count("trying again") <= 2
    assert "Traceback" not in log.read_text()


def test_a_topic_that_names_no_monitor_is_refused(
    server: Postgres, broker: Broker
) -> None:
    script = Script()
    script.add("event")
    with (
        collecting(server, broker.url),
        mqtt_monitors(broker.port, script) as monitors,
    ):
        monitors.publish("YARD<b>", script.messages[1])
        monitors.publish("garden", script.messages[1])
        monitors.publish("yard", b"x" * 2_000_000)
        monitors.publish_all()
        wait_until(lambda: all_stored(server) == [1])
        wait_until(lambda: len(refused(server)) == 3)
    assert refused(server) == {
        ("", "monitor"): 1,
        ("garden", "monitor"): 1,
        ("yard", "too-large"): 1,
    }


def test_the_rules_of_the_documentation_let_a_collector_collect_and_ask(
    server: Postgres, tmp_path: Path
) -> None:
    script = Script()
    script.add_many(8)
    (secret := tmp_path / "secret").write_text("of collector\n")
    login = {"username": "collector", "password": f"file:{secret}"}
    with (
        documented_broker(tmp_path) as broker,
        collecting(server, broker.url, **login),
        mqtt_monitors(
            broker.port, script, username="yard", password="of yard"
        ) as monitors,
    ):
        monitors.publish_all(3)
        wait_until(lambda: received(server) == "{[1,9)}")


def test_a_collector_says_why_it_has_no_connection(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.stop()
    subscription = open_subscription(FleetBroker(url=broker.url), {})
    try:
        wait_until(lambda: caplog.messages)
    finally:
        subscription.close()
    problem = f"no connection to {broker.url}: Connection refused"
    assert caplog.messages[0] == f"{problem}; trying again"


def test_a_broker_that_dies_is_said_without_a_code(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    subscription = open_subscription(FleetBroker(url=broker.url), {})
    try:
        wait_until(lambda: subscription.is_connected)
        broker.stop()
        wait_until(lambda: not subscription.is_connected and caplog.messages)
    finally:
        subscription.close()
    problem = f"{broker.url}: the connection was lost; trying again"
    assert caplog.messages[0] == problem
