"""Digests come as soon as what they say first has changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.sinks.publish import publisher as module
from tests.support.broker import Broker, needs_mosquitto
from tests.support.clock import wait_until
from tests.support.publishing import (
    Collector,
    mqtt_transport,
    published_store,
    publishing,
)
from tests.support.status import MODEL
from tests.support.timed import statistics

pytestmark = needs_mosquitto


def test_a_digest_tells_soon_that_the_monitor_listens(
    path: Path,
    broker: Broker,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHANGED_SECONDS", 0.5)
    store = published_store(path)

    def told() -> list[bool]:
        digests = [it for it in collector.messages if it.type == "digest"]
        return [it.record["listening"] for it in digests]

    with publishing(path, mqtt_transport(broker.port)) as publisher:
        wait_until(lambda: told()[-1:] == [True])
        deaf = statistics("street", state="opening", idle_seconds=60.0)
        publisher.report(replace(deaf, model=MODEL))
        wait_until(lambda: told()[-1:] == [False])
        assert len(told()) <= 3
    store.close()
