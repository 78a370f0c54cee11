"""Digests come as soon as what they say first has changed."""

from dataclasses import replace
from pathlib import Path

from tests.support.broker import Broker, needs_mosquitto
from tests.support.clock import wait_until
from tests.support.publishing import (
    SHORT,
    Collector,
    mqtt_transport,
    published_store,
    publishing,
)
from tests.support.status import MODEL
from tests.support.timed import statistics

pytestmark = needs_mosquitto


def test_a_digest_tells_soon_that_the_monitor_listens(
    path: Path, broker: Broker, collector: Collector
) -> None:
    store = published_store(path)

    def listening() -> list[bool]:
        digests = [it for it in collector.messages if it.type == "digest"]
        return [it.record["listening"] for it in digests]

    pauses = replace(SHORT, changed=0.5)
    with publishing(path, mqtt_transport(broker.port), pauses=pauses) as publisher:
        wait_until(lambda: listening()[-1:] == [True])
        deaf = statistics("street", state="opening", idle_seconds=60.0)
        publisher.report(replace(deaf, model=MODEL))
        wait_until(lambda: listening()[-1:] == [False])
        assert len(listening()) <= 3
    store.close()
