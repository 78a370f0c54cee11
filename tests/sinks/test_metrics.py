"""The contents of /healthz and /metrics."""

import math
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from monitor.config.outputs import MetricsSettings
from monitor.errors import ConfigError
from monitor.sinks.alerts.outbox import write_alerts
from monitor.sinks.metrics import Metrics
from monitor.sinks.status_snapshot import Reload, Watchdog
from monitor.statistics import CanaryResult, Latencies, Levels, Loss, Trouble
from tests.support.alerts import alert
from tests.support.clock import wait_until
from tests.support.status import (
    TOKEN,
    FakeMonitor,
    MetricsClient,
    is_open,
    serving_metrics,
)
from tests.support.store import open_database
from tests.support.timed import samples

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MetricsClient]:
    with serving_metrics(FakeMonitor(tmp_path)) as client:
        yield client


def test_healthz_is_200_only_while_the_monitor_listens(client: MetricsClient) -> None:
    status, body, _ = client.get("/healthz")
    assert (status, body) == (200, "listening to street\n")
    client.monitor.clock.advance(15)
    status, body, _ = client.get("/healthz")
    assert (status, body) == (503, "the analysis hangs: it has not moved for 15.0 s\n")
    client.monitor.report()
    assert client.get("/healthz")[0] == 200


def full_monitor(tmp_path: Path) -> FakeMonitor:
    """A monitor for which everything is known."""
    path = tmp_path / "monitor.db"
    connection = open_database(path).connect()
    write_alerts(connection, [alert(1), alert(2), alert(3)])
    connection.execute("UPDATE alerts SET state = 'dead' WHERE id = ?", [alert(3).id])
    connection.close()
    monitor = FakeMonitor(tmp_path, ("siren/webhook", "dog/command"), path)
    monitor.daemon.watchdog = Watchdog(30.0, monitor.clock.monotonic())
    monitor.daemon.reload = Reload(monitor.clock.utc(), False, "no")
    monitor.publishing = {"pending": 12, "problem": "no collector"}
    return monitor


def report_everything(monitor: FakeMonitor) -> None:
    statistics = monitor.report("street", "yard")
    street, yard = statistics.sources
    street = replace(
        street,
        lost_samples=samples(3),
        gaps=2,
        last_sample=monitor.clock.utc(),
        losses=(Loss("unplugged", 1, samples(2)), Loss("overrun", 1, samples(1))),
        level=Levels(-40.0, 44.5),
        noise_floor=Levels(-60.0, -math.inf),
        events=(("siren", 3), ('odd "label"\n', 1)),
    )
    canary = CanaryResult("street", monitor.clock.utc(), True, "", "siren", 0.9, 4.0)
    monitor.tracker.report(
        replace(
            statistics,
            sources=(street, replace(yard, state="waiting")),
            latencies=Latencies((0.1, 0.5), (5, 3, 1), 2.5),
            queues=(("store-records", 7),),
            canary=(canary,),
            troubles=(Trouble("street", "clipping", None, "s3cret detail"),),
        )
    )


def test_the_metrics_hold_everything_known(tmp_path: Path) -> None:
    with serving_metrics(full_monitor(tmp_path)) as client:
        report_everything(client.monitor)
        found = client.samples()
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
        "publish_pending{}": 12,
        "publish_failing{}": 1,
        "canary_ok{source=street}": 1,
        "latency_seconds_bucket{le=0.1}": 5,
        "latency_seconds_bucket{le=0.5}": 8,
        "latency_seconds_bucket{le=+Inf}": 9,
        "latency_seconds_count{}": 9,
        "latency_seconds_sum{}": 2.5,
        "alerts{endpoint=siren/webhook,state=pending}": 2,
        "alerts{endpoint=siren/webhook,state=dead}": 1,
        "alerts{endpoint=dog/command,state=dead}": 0,
        "reload_taken{}": 0,
    }
    assert {key: found.get(f"{name}{key}") for key in expected} == expected
    # A value that is not a number is left out.
    assert f"{name}noise_floor_laeq_decibels{{source=street}}" not in found
    assert f"{name}level_dbfs{{source=yard}}" not in found
    assert found["process_resident_memory_bytes{}"] > 2**20


def test_the_metrics_follow_the_rules_of_prometheus(tmp_path: Path) -> None:
    """As promtool and the specification of OpenMetrics check them."""
    with serving_metrics(full_monitor(tmp_path)) as client:
        report_everything(client.monitor)
        client.monitor.clock.advance(1)
        _, text, headers = client.get("/metrics", Accept=OPEN_METRICS)
        _, plain, _ = client.get("/metrics")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    families = list(parse_open_metrics(text))  # which checks the form and the suffixes
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert {family.name for family in parse(plain)} >= {
        name for name in names if not name.endswith("_build")
    }
    own = [family for family in families if family.name.startswith("sound_monitor_")]
    assert len(own) > 20
    for family in own:
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


def test_no_secret_and_no_detail_is_served(tmp_path: Path) -> None:
    with serving_metrics(full_monitor(tmp_path), TOKEN) as client:
        report_everything(client.monitor)
        text = "".join(
            client.get(path, Authorization=f"Bearer {TOKEN}")[1]
            for path in ("/metrics", "/healthz")
        )
    assert "sound_monitor_source_listening" in text
    assert "s3cret" not in text
    assert TOKEN not in text


def test_many_requests_are_served_from_one_snapshot(client: MetricsClient) -> None:
    taken = []
    take = client.monitor.tracker.snapshot

    def counted() -> object:
        taken.append(1)
        return take()

    client.monitor.tracker.snapshot = counted
    for _ in range(10):
        client.get("/metrics")
        client.get("/healthz")
    assert len(taken) == 1
    client.monitor.clock.advance(1)
    client.get("/metrics")
    assert len(taken) == 2


def test_an_address_in_use_is_logged_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.sinks.metrics.RETRY_SECONDS", 0.01)
    monitor = FakeMonitor(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = MetricsSettings(listen=f"127.0.0.1:{port}")
        sink = Metrics(settings, monitor.tracker, monitor.clock.monotonic, {})
        sink.report(monitor.report())
        wait_until(
            lambda: f"cannot listen on 127.0.0.1:{port}: Address already" in caplog.text
        )
    client = MetricsClient(monitor, port, sink)
    wait_until(lambda: is_open(port))
    assert client.get("/healthz")[0] == 200
    sink.close()
    assert caplog.text.count("cannot listen on") == 1


def test_a_missing_token_is_named(tmp_path: Path) -> None:
    settings = MetricsSettings(listen="0.0.0.0:9110", token_secret="env:TOKEN")
    monitor = FakeMonitor(tmp_path)
    with pytest.raises(ConfigError, match=r"metrics\.token_secret: the variable TOKEN"):
        Metrics(settings, monitor.tracker, monitor.clock.monotonic, {})


def test_livez_asks_for_no_token_and_only_whether_the_analysis_moves(
    tmp_path: Path,
) -> None:
    with serving_metrics(FakeMonitor(tmp_path), TOKEN) as client:
        assert client.get("/livez", Host="172.30.33.5:9110")[:2] == (200, "alive\n")
        client.monitor.report("street", "yard")
        client.monitor.clock.advance(59)
        assert client.get("/livez")[0] == 200
        client.monitor.clock.advance(2)
        assert client.get("/livez")[:2] == (503, "the analysis hangs\n")
        assert client.get("/healthz")[0] == 401
