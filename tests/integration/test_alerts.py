"""Alerts of the daemon, from the sound to the endpoint."""

import json
import sys
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook as Verifier

from tests.support.alerts import SECRET
from tests.support.daemon import RunningMonitor
from tests.support.endpoint import Endpoint, dripping, ok, running_endpoint


def configured(folder: Path, *rules: dict[str, Any]) -> str:
    path = folder / "config.yaml"
    path.write_text(json.dumps({"alerts": rules}))
    return str(path)


def siren(url: str, **settings: Any) -> dict[str, Any]:
    return {
        "name": "siren",
        "labels": ["siren"],
        "on": ["onset", "end"],
        "webhook": {"url": url, "secret": "env:WEBHOOK_SECRET"},
        **settings,
    }


def bodies(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in endpoint.requests]


def test_a_siren_of_the_demo_reaches_a_webhook_and_a_command(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"
    with running_endpoint() as endpoint:
        rule = siren(endpoint.url, command=[sys.executable, "-c", script, str(out)])
        config = configured(tmp_path, rule)
        with RunningMonitor(
            tmp_path,
            *("--config", config, "--input", "demo:", "--speed", "max"),
            WEBHOOK_SECRET=SECRET,
        ) as monitor:
            assert monitor.process.wait(60) == 0, monitor.log
            (event,) = [e for e in monitor.records("event") if e["label"] == "siren"]
    assert [body["kind"] for body in bodies(endpoint)] == ["onset", "end"]
    for request in endpoint.requests:
        Verifier(SECRET).verify(request.body, request.headers)
    onset, end = bodies(endpoint)
    assert onset["event_id"] == end["event_id"] == event["id"]
    assert end["peak_score"] == event["peak_score"]
    assert onset["hits"] >= 1
    commanded = [json.loads(line) for line in out.read_text().splitlines()]
    assert [body["kind"] for body in commanded] == ["onset", "end"]


def test_a_slow_delivery_does_not_keep_the_daemon_from_stopping(
    tmp_path: Path, siren_command: str
) -> None:
    with running_endpoint(dripping(b"HTTP/1.1 2")) as endpoint:
        config = configured(tmp_path, siren(endpoint.url))
        with RunningMonitor(
            tmp_path,
            *("--config", config, "--input", siren_command),
            WEBHOOK_SECRET=SECRET,
        ) as monitor:
            monitor.wait_for_line("siren  began")
            endpoint.wait_for(1)
            code, seconds = monitor.stop()
            assert code == 0, monitor.log
            assert seconds < 15  # and not the 20 s of a delivery
        first = endpoint.requests[0].headers["webhook-id"]
        endpoint.will(ok)
        count = len(endpoint.requests)
        with RunningMonitor(
            tmp_path,
            *("--config", config, "--input", siren_command),
            WEBHOOK_SECRET=SECRET,
        ) as monitor:
            requests = endpoint.wait_for(count + 2, 30)[count:]
            monitor.stop()
    # What was under way comes again, and then the end that the stop made.
    assert requests[0].headers["webhook-id"] == first
    assert [json.loads(r.body)["kind"] for r in requests[:2]] == ["onset", "end"]


def test_a_broken_rule_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    rule = siren("http://localhost/", labels=["sirn"])
    config = configured(tmp_path, rule)
    with RunningMonitor(tmp_path, "--config", config, "--input", "demo:") as monitor:
        assert monitor.process.wait(30) == 2
        message = [line for line in monitor.log.splitlines() if "INFO" not in line]
    assert message == [
        f"sound-monitor: {config}:1: alerts[0].labels: 'sirn' is not a label that "
        "is reported; did you mean siren?",
        f"sound-monitor: {config}:1: alerts[0].webhook.secret: the variable "
        "WEBHOOK_SECRET is not set",
    ]
