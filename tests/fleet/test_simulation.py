"""A fleet whose every part is killed has each record once, and knows what is lost.

`-s` prints what was done to it.
"""

import sys
from pathlib import Path

import psycopg
import pytest

from monitor.fleet.collect.status import read_status
from tests.support.broker import needs_mosquitto
from tests.support.fleet_monitors import (
    LOST,
    LOST_AND_AWAY,
    LOST_AND_DELETED,
    LOST_BY_BROKER,
    NEVER_SENT,
    ROW_GONE,
)
from tests.support.fleet_simulation import Fleet, Simulation, simulated
from tests.support.fleet_verification import missing, verify
from tests.support.nats_server import needs_nats
from tests.support.postgres import needs_postgres

pytestmark = [pytest.mark.fleet, needs_postgres, pytest.mark.timeout(600)]

LOSSES = (NEVER_SENT, ROW_GONE, LOST_BY_BROKER, LOST_AND_DELETED, LOST_AND_AWAY)


def check(simulation: Simulation) -> None:
    """Compare both ends, and what was lost on purpose with what is said of it."""
    fleet = simulation.fleet
    never_sent, row_gone, _, deleted, away = fleet.names[: len(LOSSES)]
    with simulation.server.connect() as connection:
        assert verify(connection, simulation.databases, {away}) == {}
        assert missing(connection, away) == list(range(1, LOST + 1))
        assert deletions(connection, never_sent) == [None]
        assert deletions(connection, row_gone) == ["scores"]
        assert deletions(connection, deleted) == [None, None]
        others = {never_sent, row_gone, deleted}
        assert not any(deletions(connection, it) for it in {*fleet.names} - others)
        (refused,) = connection.execute("SELECT count(*) FROM refused").fetchall()
    assert refused == (0,)
    monitors = read_status(simulation.server.url)["monitors"]
    assert len(monitors) == fleet.monitors
    lacking = {it["monitor"]: it["missing"] + it["given_up"] for it in monitors}
    assert {name: count for name, count in lacking.items() if count} == {away: LOST}


def deletions(connection: psycopg.Connection, monitor: str) -> list[str | None]:
    rows = connection.execute("SELECT type FROM deleted WHERE monitor = %s", [monitor])
    return [kind for (kind,) in rows]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("mqtt", marks=needs_mosquitto),
        pytest.param("nats", marks=needs_nats),
    ],
)
def test_after_all_was_killed_every_record_is_there_once(
    kind: str, tmp_path: Path
) -> None:
    fleet = Fleet(20, 1.0, kind, relayed=15, losses=LOSSES)
    with simulated(fleet, tmp_path) as simulation:
        simulation.wait_for(400)
        simulation.chaos(8, seed=1)
        seconds = simulation.stop()
        sys.stdout.write(
            f"{', '.join(simulation.faults)}; {simulation.collected()} records, "
            f"all of them {seconds:.0f} s later\n"
        )
        check(simulation)
