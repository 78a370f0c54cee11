"""The status of a real daemon, by the real command, in good and bad times."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse

from monitor.sinks.status_client import query_status
from tests.support.daemon import RunningMonitor
from tests.support.endpoint import unused_port

LONGEST_SECONDS = 30.0
"""For the command: an interpreter may start slowly on a busy machine."""

PATIENCE_SECONDS = 90.0

SECRETS = ("hush-user", "hush-path", "hush-token")


def configured(folder: Path, **settings: Any) -> str:
    path = folder / "config.yaml"
    path.write_text(json.dumps({"state_dir": str(folder / "state"), **settings}))
    return str(path)


def status(config: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the real command, which must answer in any case."""
    result = subprocess.run(
        [*(sys.executable, "-m", "monitor", "status"), *("--config", config, *options)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_SECONDS,
    )
    assert result.stderr == ""
    return result


def status_when_it_listens(
    config: str, *options: str, part: str = ""
) -> subprocess.CompletedProcess[str]:
    """The same with a part, of a monitor that may be too busy to answer at once."""
    deadline = monotonic() + PATIENCE_SECONDS
    while True:
        result = status(config, *options)
        if result.returncode == 0 and part in result.stdout:
            return result
        assert monotonic() < deadline, result.stdout


def wait_until_it_listens(monitor: RunningMonitor) -> None:
    socket = monitor.state_dir / "status.sock"
    monitor.wait_until(lambda _: query_status([socket])["listening"], PATIENCE_SECONDS)


def get(port: int, path: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    request.add_header("Authorization", "Bearer hush-token")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_status_of_a_monitor_that_runs_is_suspended_resumes_and_ends(
    tmp_path: Path, siren_command: str
) -> None:
    port = unused_port()
    (tmp_path / "token").write_text("hush-token\n")
    config = configured(
        tmp_path,
        sources=[
            {"name": "street", "input": f"{siren_command} http://hush-user@camera/"}
        ],
        metrics={
            "listen": f"127.0.0.1:{port}",
            "token_secret": f"file:{tmp_path}/token",
        },
        alerts=[
            {
                "name": "siren",
                "labels": ["siren"],
                "webhook": {"url": f"http://127.0.0.1:{unused_port()}/hush-path"},
            }
        ],
    )
    assert sentence_of(config).startswith("the monitor is not running: there is")
    with RunningMonitor(tmp_path, "--config", config) as monitor:
        wait_until_it_listens(monitor)
        monitor.wait_for_line("siren  began", PATIENCE_SECONDS)

        pending = "alerts: siren/webhook: 1 pending"
        human = status_when_it_listens(config, part=pending)
        assert human.stdout.startswith("listening to street\n")
        assert f"configuration: {config}" in human.stdout

        answer = status_when_it_listens(config, "--json")
        document = json.loads(answer.stdout)
        assert document["pid"] == monitor.process.pid
        (street,) = document["sources"]
        assert street["state"] == "listening"
        assert street["captured_seconds"] > 4
        assert -60 < street["level_dbfs"] < 0
        assert document["outbox"]["endpoints"]["siren/webhook"]["pending"] == 1

        assert get(port, "/healthz") == (200, "listening to street\n")
        _, metrics = get(port, "/metrics")
        families = {family.name: family for family in parse(metrics)}
        (up,) = families["sound_monitor_source_listening"].samples
        assert (up.labels, up.value) == ({"source": "street"}, 1)
        assert families["sound_monitor_latency_seconds"].type == "histogram"

        everything = human.stdout + answer.stdout + metrics
        assert not [secret for secret in SECRETS if secret in everything]

        monitor.process.send_signal(signal.SIGSTOP)
        stopped = status(config)
        assert stopped.returncode == 1
        assert "is stopped by a signal" in stopped.stdout
        document = json.loads(status(config, "--json").stdout)
        assert (document["running"], document["listening"]) == (True, False)

        monitor.process.send_signal(signal.SIGCONT)
        wait_until_it_listens(monitor)
        assert monitor.stop()[0] == 0, monitor.log
    after = status(config)
    assert after.returncode == 1
    assert after.stdout.startswith("the monitor is not running: there is no")


def sentence_of(config: str) -> str:
    result = status(config, "--json")
    assert result.returncode == 1
    return str(json.loads(result.stdout)["sentence"])


def test_a_source_that_is_gone_is_not_listened_to(tmp_path: Path) -> None:
    sources = [{"name": "yard", "input": "command:false"}]
    config = configured(tmp_path, sources=sources)
    socket = tmp_path / "state" / "status.sock"
    with RunningMonitor(tmp_path, "--config", config) as monitor:
        sentence = "not listening to yard (waiting: command 'false' ended with"
        monitor.wait_until(
            lambda _: query_status([socket])["sentence"].startswith(sentence),
            PATIENCE_SECONDS,
        )
        assert status(config).returncode == 1


def test_an_override_that_is_left_out_is_a_trouble(tmp_path: Path) -> None:
    """Such as after another model was chosen, which lacks the label."""
    overrides = tmp_path / "state" / "overrides.yaml"
    overrides.parent.mkdir()
    overrides.write_text("detection: {labels: {sirene: {sensitivity: 0.7}}}\n")
    config = configured(
        tmp_path, sources=[{"name": "street", "input": "demo:"}], store={"path": None}
    )
    with RunningMonitor(tmp_path, "--config", config) as monitor:
        wait_until_it_listens(monitor)
        human = status_when_it_listens(config).stdout
        assert human.startswith("listening to street; trouble: overrides\n")
        left_out = f"{overrides}:1: detection.labels: 'sirene' is not a label"
        (line,) = (it for it in human.splitlines() if it.startswith("trouble: "))
        assert line.endswith(f"an override is left out: {left_out}") or left_out in line
        overrides.unlink()
        monitor.process.send_signal(signal.SIGHUP)
        monitor.wait_until(
            lambda _: status(config).stdout.startswith("listening to street\n"),
            PATIENCE_SECONDS,
        )
