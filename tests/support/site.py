"""The HTTP server of a monitor, and a client that behaves as told."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families as parse

from monitor.config.outputs import MetricsSettings
from monitor.sinks.metrics import Metrics
from tests.support.broker import wait_until
from tests.support.endpoint import unused_port
from tests.support.vitals import Patient

TOKEN = "a-long-token"


class Site:
    """The server of a monitor, and a client."""

    def __init__(self, patient: Patient, port: int, sink: Metrics) -> None:
        self.patient = patient
        self.port = port
        self.sink = sink

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of an answer."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            client.request(method, path, headers=headers)
            answer = client.getresponse()
            return answer.status, answer.read().decode(), dict(answer.headers)
        finally:
            client.close()

    def knock(self, data: bytes) -> socket.socket:
        """A connection on which `data` was sent and no more."""
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        connection.sendall(data)
        return connection

    def samples(self) -> dict[str, float]:
        """Every sample of the metrics, by its name and labels."""
        self.patient.clock.advance(1)
        found = {}
        for family in parse(self.ask("/metrics")[1]):
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
def serving(patient: Patient, token: str | None = None) -> Iterator[Site]:
    port = unused_port()
    settings = MetricsSettings(
        listen=f"127.0.0.1:{port}", token_secret=token and "env:TOKEN"
    )
    sink = Metrics(
        settings, patient.vitals, patient.clock.monotonic, {"TOKEN": token or ""}
    )
    try:
        sink.report(patient.hear())
        wait_until(lambda: is_open(port))
        yield Site(patient, port, sink)
    finally:
        sink.close()
    assert not is_open(port)
