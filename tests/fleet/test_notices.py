"""Notices of a fleet: each change reaches a real endpoint once, whoever dies."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from monitor.config.hooks import WebhookSettings
from monitor.fleet.collect.database import FleetDatabase
from monitor.fleet.collect.notices import Notifier
from monitor.sinks.alerts.hooks.webhook import Webhook
from tests.support.clock import wait_until
from tests.support.endpoint import Endpoint, running_endpoint, status
from tests.support.fleet import Script
from tests.support.postgres import Postgres, needs_postgres

pytestmark = [pytest.mark.fleet, needs_postgres, pytest.mark.timeout(60)]


@contextmanager
def notifying(
    server: Postgres, url: str, settle_seconds: float = 0.0
) -> Iterator[Notifier]:
    hook = Webhook(WebhookSettings(url=url), "webhook", {})
    notifier = Notifier(FleetDatabase(server.url), hook, 0.02, settle_seconds, 0.05)
    stop = threading.Event()
    thread = threading.Thread(target=notifier.run, args=[stop])
    thread.start()
    try:
        yield notifier
    finally:
        stop.set()
        thread.join(10)


def fleet_of(database: FleetDatabase, *names: str) -> list[Script]:
    scripts = [Script(name) for name in names]
    for script in scripts:
        script.add("digest", site="farm")
        database.write(script.arrivals())
    return scripts


def silence(server: Postgres, *names: str) -> None:
    with server.connect() as connection:
        connection.execute(
            "UPDATE epochs SET last_seen = now() - interval '1 hour' "
            "WHERE monitor = ANY(%s)",
            [list(names)],
        )


def told(endpoint: Endpoint) -> list[list[tuple[str | None, str]]]:
    """The monitors and states of each notice."""
    return [
        [(it["monitor"], it["state"]) for it in json.loads(request.body)["monitors"]]
        for request in endpoint.requests
    ]


def changes(server: Postgres) -> list[tuple[Any, ...]]:
    with server.connect() as connection:
        return connection.execute(
            "SELECT monitor, state, reported IS NOT NULL FROM changes ORDER BY id"
        ).fetchall()


def test_a_monitor_that_is_silent_deaf_or_back_is_told_once(
    server: Postgres, database: FleetDatabase
) -> None:
    barn, *_ = fleet_of(database, "barn", "attic", "dock")
    with running_endpoint() as endpoint, notifying(server, endpoint.url):
        silence(server, "attic")
        endpoint.wait_for(1)
        barn.add("digest", listening=False, site="farm")
        database.write(barn.arrivals())
        endpoint.wait_for(2)
        barn.add("digest", site="farm")
        database.write(barn.arrivals())
        endpoint.wait_for(3)
        wait_until(lambda: all(reported for *_, reported in changes(server)))
    assert told(endpoint) == [
        [("attic", "silent")],
        [("barn", "not listening")],
        [("barn", "listening")],
    ]
    first = json.loads(endpoint.requests[0].body)
    assert first["message"].startswith("attic (farm): silent since 20")
    assert first["id"] == endpoint.requests[0].headers["webhook-id"]


def test_changes_that_cannot_be_noted_are_a_warning_and_come_later(
    server: Postgres, database: FleetDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    fleet_of(database, "barn", "attic")
    with server.connect() as connection:
        connection.execute("ALTER TABLE changes RENAME TO hidden")
    with running_endpoint() as endpoint, notifying(server, endpoint.url):
        silence(server, "attic")
        wait_until(lambda: "no notices are made: " in caplog.text)
        with server.connect() as connection:
            connection.execute("ALTER TABLE hidden RENAME TO changes")
        endpoint.wait_for(1)
    assert told(endpoint) == [[("attic", "silent")]]
    assert caplog.text.count("no notices are made") == 1


def test_what_an_endpoint_did_not_take_is_told_later_also_by_another_collector(
    server: Postgres, database: FleetDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    barn, *_ = fleet_of(database, "barn", "attic")
    with running_endpoint(status(503)) as endpoint:
        with notifying(server, endpoint.url), caplog.at_level(logging.WARNING):
            silence(server, "barn")
            endpoint.wait_for(3)
            database.write([barn.arrival(barn.add("digest"))])
            wait_until(lambda: len(changes(server)) == 2)
        assert [record.message for record in caplog.records] == [
            "the webhook did not take a notice: HTTP 503; trying again for ever"
        ]
        port = endpoint.port
    assert changes(server) == [("barn", "silent", False), ("barn", "listening", False)]
    with notifying(server, f"http://localhost:{port}/hook") as notifier:
        wait_until(lambda: notifier._failures > 1)
        with running_endpoint(port=port) as endpoint:
            endpoint.wait_for(1)
            wait_until(lambda: all(reported for *_, reported in changes(server)))
    assert told(endpoint) == [[("barn", "silent"), ("barn", "listening")]]


def test_a_silence_of_all_is_one_notice_and_so_is_its_end(
    server: Postgres, database: FleetDatabase
) -> None:
    scripts = fleet_of(database, *(f"monitor-{number}" for number in range(30)))
    names = [script.monitor for script in scripts]
    with (
        running_endpoint() as endpoint,
        notifying(server, endpoint.url) as notifier,
    ):
        wait_until(lambda: notifier._locked)
        notifier.settle_seconds = 1.0
        silence(server, *names)
        endpoint.wait_for(1)
        for script in scripts[1:]:
            database.write([script.arrival(script.add("digest"))])
        endpoint.wait_for(3)
        wait_until(lambda: all(reported for *_, reported in changes(server)))
    assert told(endpoint) == [
        [(None, "silent")],
        [(None, "listening")],
        [("monitor-0", "silent")],
    ]
    message = json.loads(endpoint.requests[0].body)["message"]
    assert message.startswith("nothing from any monitor since ")


def test_no_monitor_alone_is_silent_while_nothing_fresh_came(
    server: Postgres, database: FleetDatabase
) -> None:
    fleet_of(database, "attic", "barn", "dock")
    silence(server, "attic")
    with server.connect() as connection:
        connection.execute(
            "UPDATE epochs SET last_seen = now() - interval '2 minutes' "
            "WHERE monitor <> 'attic'"
        )
    with running_endpoint() as endpoint, notifying(server, endpoint.url):
        with server.connect() as connection:
            connection.execute(
                "UPDATE monitors SET digest = jsonb_set(digest, '{listening}', "
                "'false') WHERE monitor = 'dock'"
            )
        endpoint.wait_for(1)
    assert told(endpoint) == [[("dock", "not listening")]]


def test_of_two_collectors_one_tells_and_the_other_goes_on(
    server: Postgres, database: FleetDatabase
) -> None:
    fleet_of(database, "attic", "barn", "dock")
    with running_endpoint() as endpoint, notifying(server, endpoint.url) as second:
        with notifying(server, endpoint.url) as first:
            wait_until(lambda: first._locked or second._locked)
            silence(server, "attic")
            endpoint.wait_for(1)
            assert not (first._locked and second._locked)
        silence(server, "barn")
        endpoint.wait_for(2)
        wait_until(lambda: all(reported for *_, reported in changes(server)))
    assert told(endpoint) == [[("attic", "silent")], [("barn", "silent")]]


def test_after_a_start_monitors_have_time_to_come_back(
    server: Postgres, database: FleetDatabase
) -> None:
    fleet_of(database, "attic")
    silence(server, "attic")
    with running_endpoint() as endpoint:
        with notifying(server, endpoint.url, settle_seconds=60.0) as notifier:
            wait_until(lambda: notifier._locked)
        # The look that took the lock has ended.
        assert changes(server) == []
        with notifying(server, endpoint.url):
            endpoint.wait_for(1)
    assert told(endpoint) == [[(None, "silent")]]
