"""/healthz and /metrics, to real clients on loopback."""

import contextlib
import http.client
import logging
import math
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from monitor.config.status import MetricsSettings
from monitor.errors import ConfigError
from monitor.records import CanaryResult, Latencies, Levels, Loss, Trouble
from monitor.sinks.metrics import server as server_module
from monitor.sinks.metrics.metrics import Metrics
from monitor.sinks.status.daemon import Reload, Watchdog
from monitor.sinks.store.database import open_database
from monitor.sinks.store.ports import write_alerts
from tests.support.alerts import alert
from tests.support.broker import wait_until
from tests.support.endpoint import unused_port
from tests.support.timed import samples
from tests.support.vitals import Patient

TOKEN = "a-long-token"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


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


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(Patient(tmp_path)) as site:
        yield site


def ended(connection: socket.socket) -> bool:
    """Whether the other end has closed, within ten seconds."""
    connection.settimeout(10)
    with connection:
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
    return True


def is_ended_while_it_drips(connection: socket.socket) -> bool:
    """Whether the other end closes within ten seconds, though bytes go on coming."""
    connection.settimeout(0.05)
    deadline = monotonic() + 10
    with connection:
        while monotonic() < deadline:
            try:
                if connection.recv(1) == b"":
                    return True
            except TimeoutError:
                pass
            except OSError:
                return True
            with contextlib.suppress(OSError):
                connection.sendall(b"X")
    return False


def test_healthz_is_200_only_while_it_truly_listens(site: Site) -> None:
    status, body, _ = site.ask("/healthz")
    assert (status, body) == (200, "listening to street\n")
    site.patient.clock.advance(15)
    status, body, _ = site.ask("/healthz")
    assert (status, body) == (
        503,
        "the analysis hangs: it has not moved for 15.0 s\n",
    )
    site.patient.hear()
    assert site.ask("/healthz")[0] == 200


def full(tmp_path: Path) -> Patient:
    """A monitor of which everything is known."""
    path = tmp_path / "monitor.db"
    connection = open_database(path).connect()
    write_alerts(connection, [alert(1), alert(2)])
    connection.close()
    patient = Patient(tmp_path, ("siren/webhook", "dog/command"), path)
    patient.daemon.watchdog = Watchdog(30.0, patient.clock.monotonic())
    patient.daemon.reload = Reload(patient.clock.utc(), False, "no")
    return patient


def hear_everything(patient: Patient) -> None:
    statistics = patient.hear("street", "yard")
    street, yard = statistics.sources
    street = replace(
        street,
        lost_samples=samples(3),
        gaps=2,
        last_sample=patient.clock.utc(),
        losses=(Loss("unplugged", 1, samples(2)), Loss("overrun", 1, samples(1))),
        level=Levels(-40.0, 44.5),
        noise_floor=Levels(-60.0, -math.inf),
        events=(("siren", 3), ('odd "label"\n', 1)),
    )
    canary = CanaryResult("street", patient.clock.utc(), True, "", "siren", 0.9, 4.0)
    patient.vitals.report(
        replace(
            statistics,
            sources=(street, replace(yard, state="waiting")),
            latencies=Latencies((0.1, 0.5), (5, 3, 1), 2.5),
            queues=(("store-records", 7),),
            canary=(canary,),
            troubles=(Trouble("street", "clipping", None, "s3cret detail"),),
        )
    )


def test_the_metrics_are_what_is_known(tmp_path: Path) -> None:
    with serving(full(tmp_path)) as site:
        hear_everything(site.patient)
        found = site.samples()
    name = "sound_monitor_"
    expected = {
        "listening{}": 0,
        "source_listening{source=street}": 1,
        "source_listening{source=yard}": 0,
        "source_state{source=yard,state=waiting}": 1,
        "source_state{source=yard,state=listening}": 0,
        "lost_seconds_total{reason=unplugged,source=street}": 2,
        "lost_seconds_total{reason=overrun,source=street}": 1,
        "gaps_total{reason=overrun,source=street}": 1,
        "events_total{label=siren,source=street}": 3,
        'events_total{label=odd "label"\n,source=street}': 1,
        "level_dbfs{source=street}": -40,
        "noise_floor_dbfs{source=street}": -60,
        "trouble{kind=clipping,source=street}": 1,
        "queue_length{queue=store-records}": 7,
        "canary_ok{source=street}": 1,
        "latency_seconds_bucket{le=0.1}": 5,
        "latency_seconds_bucket{le=0.5}": 8,
        "latency_seconds_bucket{le=+Inf}": 9,
        "latency_seconds_count{}": 9,
        "latency_seconds_sum{}": 2.5,
        "alerts{endpoint=siren/webhook,state=pending}": 2,
        "alerts{endpoint=dog/command,state=dead}": 0,
        "reload_taken{}": 0,
    }
    assert {key: found.get(f"{name}{key}") for key in expected} == expected
    # What is no number is left out.
    assert f"{name}noise_floor_laeq_decibels{{source=street}}" not in found
    assert f"{name}level_dbfs{{source=yard}}" not in found
    assert found["process_resident_memory_bytes{}"] > 2**20


def test_they_keep_to_the_rules_of_prometheus(tmp_path: Path) -> None:
    """What promtool and the specification of OpenMetrics complain of."""
    with serving(full(tmp_path)) as site:
        hear_everything(site.patient)
        site.patient.clock.advance(1)
        _, text, headers = site.ask("/metrics", Accept=OPEN_METRICS)
        _, plain, _ = site.ask("/metrics")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    families = list(parse_open_metrics(text))  # which checks the form and the suffixes
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert {family.name for family in parse(plain)} >= {
        name for name in names if not name.endswith("_build")
    }
    for family in families:
        if not family.name.startswith("sound_monitor_"):
            continue
        assert family.documentation.endswith("."), family.name
        assert re.fullmatch(r"[a-z_]+", family.name), family.name
        assert not family.unit or family.name.endswith(f"_{family.unit}"), family.name
        assert "total" not in family.name, family.name
        for word in ("milliseconds", "minutes", "kilobytes", "mib"):
            assert word not in family.name, family.name
        series = [(s.name, *sorted(s.labels.items())) for s in family.samples]
        assert len(series) == len(set(series)), family.name
        for sample in family.samples:
            assert set(sample.labels) <= {
                *("source", "label", "endpoint", "state", "reason", "kind", "queue"),
                *("le", "version", "model", "compute_device"),
            }, sample


def test_no_secret_and_no_detail_is_told(tmp_path: Path) -> None:
    with serving(full(tmp_path), TOKEN) as site:
        hear_everything(site.patient)
        text = "".join(
            site.ask(path, Authorization=f"Bearer {TOKEN}")[1]
            for path in ("/metrics", "/healthz")
        )
    assert "s3cret" not in text
    assert TOKEN not in text


def test_with_a_token_nobody_else_is_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Patient(tmp_path), TOKEN) as site:
        for path in ("/metrics", "/healthz", "/nothing"):
            status, body, headers = site.ask(path)
            assert (status, body) == (401, "Unauthorized\n")
            assert headers["WWW-Authenticate"] == "Bearer"
        for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN):
            assert site.ask("/metrics", Authorization=wrong)[0] == 401
        assert site.ask("/metrics", Authorization="Bearer \xff\xfe")[0] == 401
        right = {"Authorization": f"bearer {TOKEN}", "Host": "sounds.example.org"}
        assert site.ask("/metrics", **right)[0] == 200
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9110", 200),
        ("LOCALHOST", 200),
        ("127.0.0.2:1", 200),
        ("[::1]:9110", 200),
        ("evil.example.org:9110", 403),
        ("192.0.2.7", 403),
        ("[2001:db8::1]", 403),
        ("127.0.0.1.evil.example.org", 403),
    ],
)
def test_a_page_of_the_web_cannot_read_it_through_a_browser(
    site: Site, host: str, status: int
) -> None:
    assert site.ask("/metrics", Host=host)[0] == status


def test_only_get_and_head_of_two_paths_are_answered(site: Site) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        assert site.ask("/metrics", method)[0] == 501
    for path in ("/", "/metrics/", "/../etc/passwd", "*"):
        assert site.ask(path)[0] == 404
    assert site.ask("/healthz?x=1")[0] == 200
    status, body, headers = site.ask("/healthz", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) == len("listening to street\n")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        b"x" * 100_000,
    ],
)
def test_a_head_without_end_is_refused(site: Site, data: bytes) -> None:
    try:
        connection = site.knock(data)
    except OSError:
        pass  # It hung up in the middle of it, which is as well.
    else:
        assert ended(connection)
    assert site.ask("/healthz")[0] == 200


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00garbage\r\n", b"\r\n", b"\0\r\n"]
)
def test_what_is_no_request_harms_nobody(
    site: Site, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    connection = site.knock(data)
    connection.shutdown(socket.SHUT_WR)
    assert ended(connection)
    assert site.ask("/healthz")[0] == 200
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_clients_that_never_finish_do_not_keep_others_waiting(site: Site) -> None:
    slow = [site.knock(b"GET /metrics HTTP/1.1\r\nX-A: b") for _ in range(40)]
    began = monotonic()
    assert site.ask("/metrics")[0] == 200
    assert monotonic() - began < 5
    # As many as may be there are left; the oldest gave way.
    open_still = 0
    for connection in slow:
        connection.setblocking(False)
        try:
            open_still += connection.recv(1) != b""
        except BlockingIOError:
            open_still += 1
        except ConnectionResetError:
            pass
        connection.close()
    assert open_still <= server_module.MOST_CONNECTIONS


def test_a_client_that_drips_is_ended_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CONNECTION_SECONDS", 0.5)
    with serving(Patient(tmp_path)) as site:
        connection = site.knock(b"GET /metrics HTTP/1.1\r\n")
        assert is_ended_while_it_drips(connection)


def test_clients_that_are_connected_do_not_keep_it_from_ending(tmp_path: Path) -> None:
    with serving(Patient(tmp_path)) as site:
        connection = site.knock(b"GET")
        site.ask("/healthz")
    assert ended(connection)


def test_many_who_ask_are_served_from_one_look(site: Site) -> None:
    seen = []
    look = site.patient.vitals.snapshot

    def counted() -> object:
        seen.append(1)
        return look()

    site.patient.vitals.snapshot = counted  # type: ignore[method-assign, assignment]
    for _ in range(10):
        site.ask("/metrics")
        site.ask("/healthz")
    assert len(seen) <= 1
    site.patient.clock.advance(1)
    site.ask("/metrics")
    assert len(seen) <= 2


def test_an_address_that_is_taken_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.sinks.metrics.metrics.RETRY_SECONDS", 0.01)
    patient = Patient(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = MetricsSettings(listen=f"127.0.0.1:{port}")
        sink = Metrics(settings, patient.vitals, patient.clock.monotonic, {})
        sink.report(patient.hear())
        wait_until(lambda: "cannot be listened on: Address already" in caplog.text)
    site = Site(patient, port, sink)
    wait_until(lambda: is_open(port))
    assert site.ask("/healthz")[0] == 200
    sink.close()
    assert caplog.text.count("cannot be listened on") == 1


def test_a_token_that_is_missing_is_told(tmp_path: Path) -> None:
    settings = MetricsSettings(listen="0.0.0.0:9110", token_secret="env:TOKEN")
    patient = Patient(tmp_path)
    with pytest.raises(ConfigError, match=r"metrics\.token_secret: the variable TOKEN"):
        Metrics(settings, patient.vitals, patient.clock.monotonic, {})
