"""A monitor whose worker reports what the test says, and a client of its metrics."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse

from monitor.config.outputs import MetricsSettings
from monitor.sinks.metrics import Metrics
from monitor.sinks.status_snapshot import (
    DaemonFacts,
    Document,
    SnapshotSettings,
    StatusTracker,
)
from monitor.statistics import ModelStatistics, Statistics
from tests.support.clock import FakeClock, wait_until
from tests.support.endpoint import unused_port
from tests.support.timed import LABELS, SAMPLE_RATE, statistics

MODEL = ModelStatistics("urban", LABELS, SAMPLE_RATE, "cpu", None)
TOKEN = "a-long-token"


class FakeMonitor:
    """A monitor whose worker reports what the test says."""

    def __init__(
        self,
        state_dir: Path,
        endpoints: tuple[str, ...] = (),
        database: Path | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.daemon = DaemonFacts("config.yaml", "", self.clock.utc(), 4711)
        settings = SnapshotSettings(state_dir, database, endpoints, "auto")
        self.mutes: list[Document] = []
        self.publishing: Document | None = None
        self.tracker = StatusTracker(
            settings,
            self.daemon,
            self.clock,
            lambda: self.mutes,
            lambda: self.publishing,
        )
        self.captured = 60.0

    def report(self, *sources: str, **changes: Any) -> Statistics:
        """Let a second pass in which sound of every source was analysed."""
        self.clock.advance(1)
        self.captured += 1
        made = statistics(*(sources or ("street",)), captured_seconds=self.captured)
        made = replace(made, **{"model": MODEL, **changes})
        self.tracker.report(made)
        return made

    @property
    def snapshot(self) -> Document:
        return self.tracker.snapshot()


class MetricsClient:
    """The metrics server of a monitor, and a client of it."""

    def __init__(self, monitor: FakeMonitor, port: int, sink: Metrics) -> None:
        self.monitor = monitor
        self.port = port
        self.sink = sink

    def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Return status, body and headers of an answer."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            client.request(method, path, headers=headers)
            answer = client.getresponse()
            return answer.status, answer.read().decode(), dict(answer.headers)
        finally:
            client.close()

    def send(self, data: bytes) -> socket.socket:
        """Return a connection on which `data` was sent and no more."""
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        connection.sendall(data)
        return connection

    def samples(self) -> dict[str, float]:
        """Return every sample of the metrics, by its name and labels."""
        self.monitor.clock.advance(1)
        found = {}
        for family in parse(self.get("/metrics")[1]):
            for sample in family.samples:
                labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}"] = sample.value
        return found


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def serving_metrics(
    monitor: FakeMonitor, token: str | None = None
) -> Iterator[MetricsClient]:
    port = unused_port()
    settings = MetricsSettings(
        listen=f"127.0.0.1:{port}", token_secret=token and "env:TOKEN"
    )
    now, environ = monitor.clock.monotonic, {"TOKEN": token or ""}
    sink = Metrics(settings, monitor.tracker, now, environ)
    try:
        sink.report(monitor.report())
        wait_until(lambda: is_open(port))
        yield MetricsClient(monitor, port, sink)
    finally:
        sink.close()
    assert not is_open(port)
