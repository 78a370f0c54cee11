"""Requests for missing numbers: few ranges, of which each is worth its bytes."""

from datetime import timedelta

import pytest

from monitor.fleet.collect.database import Arrival, FleetDatabase
from monitor.fleet.collect.missing import MOST_EPOCHS, Wanted, look_for_missing
from monitor.fleet.collect.status import read_status
from monitor.sinks.publish.record import (
    MOST_RANGES,
    MOST_SEQUENCES,
    decode_wanted,
    encode_message,
    encode_wanted,
)
from tests.support.fleet import Script, now
from tests.support.postgres import Postgres, needs_postgres


def test_near_ranges_become_one() -> None:
    wanted = Wanted("yard", "0f0f0f0f")
    assert all(wanted.add(number, number) for number in range(1, 1000, 2))
    assert wanted.add(2000, 2010)
    assert wanted.ranges == [(1, 999), (2000, 2010)]


def test_a_request_has_no_more_than_a_monitor_sends_at_once() -> None:
    wanted = Wanted("yard", "0f0f0f0f")
    assert wanted.add(100, 10**9)
    assert wanted.ranges == [(100, 99 + MOST_SEQUENCES)]
    assert not wanted.add(2 * 10**9, 2 * 10**9)
    assert wanted.ranges == [(100, 99 + MOST_SEQUENCES)]


def test_a_range_that_is_too_far_waits_for_the_next_request() -> None:
    wanted = Wanted("yard", "0f0f0f0f")
    for number in range(MOST_RANGES):
        assert wanted.add(1000 * number + 1, 1000 * number + 5)
    assert not wanted.add(10**6, 10**6)
    assert wanted.add(1000 * MOST_RANGES - 990, 1000 * MOST_RANGES - 990)
    payload = encode_wanted("f" * 32, wanted.ranges)
    assert decode_wanted(payload) == ("f" * 32, wanted.ranges)


def scattered(monitor: str, epoch: int, ranges: int) -> list[Arrival]:
    """Every twentieth record of an epoch, so that ranges between are missing."""
    epoch_text, at = f"{epoch:08x}", now()
    return [
        Arrival(
            monitor,
            encode_message(monitor, epoch_text, 20 * number, "smell", {}, at),
            at,
        )
        for number in range(1, ranges + 1)
    ]


@pytest.mark.fleet
@needs_postgres
def test_what_one_monitor_lacks_delays_no_other(
    server: Postgres, database: FleetDatabase
) -> None:
    yard = Script("yard")
    yard.add_many(9)
    yard_arrivals = [yard.arrival(number) for number in (1, 2, 9)]
    database.write(yard_arrivals)

    def look() -> list[Wanted]:
        return look_for_missing(
            database.connection(), timedelta(0), ("attic", "yard"), 6
        )

    look()
    for epoch in range(MOST_EPOCHS + 10):
        database.write(scattered("attic", epoch, 500))
    look()  # the ranges are new
    again = look()
    status = read_status(server.url)
    found = {it["monitor"]: it for it in status["monitors"]}
    assert found["attic"]["missing"] == MOST_EPOCHS * 500 * 19
    assert found["yard"]["missing"] == 6
    with server.connect() as connection:
        count = "SELECT count(*), max(asked) FROM missing"
        assert connection.execute(count).fetchone() == (MOST_EPOCHS + 1, 1)
    assert len(again) == 1  # one request a monitor, and that of the yard waits


@pytest.mark.fleet
@needs_postgres
def test_only_monitors_that_send_are_asked(database: FleetDatabase) -> None:
    for name in ("yard", "attic"):
        script = Script(name)
        script.add_many(9)
        database.write([script.arrival(number) for number in (1, 9)])
    look_for_missing(database.connection(), timedelta(0), (), 6)
    for name in ("yard", "attic"):  # each at a broker of its own
        wanted = look_for_missing(database.connection(), timedelta(0), {name: 0.0}, 6)
        assert [it.monitor for it in wanted] == [name]
