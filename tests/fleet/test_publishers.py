"""Real publishers, a real broker and a real collector: every record, once."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from monitor.fleet.collect.status import read_status
from monitor.sinks.publish.publisher import Pauses
from tests.sinks.publish.test_nats import transport as nats_transport
from tests.support.broker import needs_mosquitto, running_broker
from tests.support.clock import wait_until
from tests.support.fleet import all_stored, collecting, received, refused, stored
from tests.support.nats_server import needs_nats, running_nats
from tests.support.postgres import Postgres, needs_postgres
from tests.support.publishing import mqtt_transport, published_store, publishing
from tests.support.store import rows, score_frames
from tests.support.timed import event, gap, onset

pytestmark = [
    pytest.mark.fleet,
    needs_postgres,
    needs_mosquitto,
    needs_nats,
    pytest.mark.timeout(300),
]

MONITORS = ("yard", "street", "roof")


@pytest.mark.parametrize("kind", ["mqtt", "nats"])
def test_every_record_is_in_the_database_whatever_is_killed(
    kind: str, server: Postgres, tmp_path: Path
) -> None:
    pauses = Pauses(first_retry=0.1, last_retry=1.0, wanted=0.5)
    with ExitStack() as stack:
        broker: Any
        if kind == "mqtt":
            broker = stack.enter_context(running_broker(tmp_path))
            make = None
        else:
            broker = stack.enter_context(running_nats(tmp_path))
            make = nats_transport
        paths = {name: tmp_path / name / "monitor.db" for name in MONITORS}
        stores = {name: published_store(path) for name, path in paths.items()}
        for name, path in paths.items():
            connection = (
                mqtt_transport(broker.port, name)
                if make is None
                else make(broker.url, name)
            )
            publisher = publishing(
                path, connection, name, digest_seconds=1.0, pauses=pauses
            )
            stack.enter_context(publisher)
        for turn in range(4):
            with collecting(server, broker.url):
                for name in MONITORS:
                    for number in range(25 * turn, 25 * turn + 25):
                        stores[name].write([onset(number=number)])
                        stores[name].write(
                            [event(number=number), gap(start_seconds=number)]
                        )
                    stores[name].write(score_frames(110, first=10_000 * turn))
                if turn in (1, 2):
                    wait_until(lambda: len(all_stored(server, "roof")) > 20)
                    broker.stop()
                    broker.start()
            # The collector has ended, and records go on.
        for store in stores.values():
            store.close()
        with collecting(server, broker.url):
            for name, path in paths.items():
                wait_until(
                    lambda name=name: (
                        len(stored(server, name)["events"]) == 100  # type: ignore[misc]
                        and len(stored(server, name)["gaps"]) == 100
                    ),
                    str(stored(server, name)),
                )
                wait_until(
                    lambda name=name, path=path: is_complete(server, name, path)  # type: ignore[misc]
                )
            # Nothing waits, and that is what is said.
            wait_until(lambda: not any(it["pending"] for it in monitors_of(server)))
    assert refused(server) == {}


def monitors_of(server: Postgres) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_status(server.url)["monitors"]
    return found


def is_complete(server: Postgres, name: str, path: Path) -> bool:
    """One range, up to the newest but for what was put just now."""
    (last,) = rows(path, "SELECT max(sequence) FROM outgoing WHERE type != 'digest'")
    ranges = received(server, name)
    sequences = all_stored(server, name)
    return (
        ranges.startswith("{[1,")
        and ranges.count("[") == 1
        and last in sequences
        and len(sequences) == len(set(sequences))
    )
