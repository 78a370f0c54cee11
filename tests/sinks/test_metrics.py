"""/healthz and /metrics: what they tell."""

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
from monitor.sinks.metrics import Metrics
from monitor.sinks.status_snapshot import Reload, Watchdog
from monitor.sinks.store.database import open_database
from monitor.sinks.store.session import write_alerts
from monitor.statistics import CanaryResult, Latencies, Levels, Loss, Trouble
from tests.support.alerts import alert
from tests.support.broker import wait_until
from tests.support.site import TOKEN, Site, is_open, serving
from tests.support.timed import samples
from tests.support.vitals import Patient

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(Patient(tmp_path)) as site:
        yield site


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
    monkeypatch.setattr("monitor.sinks.metrics.RETRY_SECONDS", 0.01)
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
