"""The daemon publishes what it hears, whatever ends it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.broker import needs_mosquitto, running_broker
from tests.support.clock import wait_until
from tests.support.daemon import RunningMonitor
from tests.support.publishing import collecting, is_whole

pytestmark = [needs_mosquitto, pytest.mark.timeout(300)]

DEADLINE_SECONDS = 90.0


def test_a_killed_monitor_has_published_or_publishes_everything_once_it_runs_again(
    tmp_path: Path, siren_command: str
) -> None:
    with running_broker(tmp_path) as broker, collecting(broker.port) as collector:
        config = tmp_path / "config.yaml"
        config.write_text(
            f"publish: {{url: '{broker.url}', monitor: yard, "
            "site: north, digest_seconds: 1}\n"
        )
        options = "--config", str(config), "--input", siren_command
        with RunningMonitor(tmp_path, *options) as monitor:
            monitor.wait_for_line("siren  began", DEADLINE_SECONDS)
            collector.wait_for("onset")
            monitor.kill()
        with RunningMonitor(tmp_path, *options) as monitor:
            collector.wait_for("event")
            monitor.wait_for_line("siren  began", DEADLINE_SECONDS)
            wait_until(lambda: collector.messages[-1].type == "digest")
            answer = subprocess.run(
                [sys.executable, "-m", "monitor", "status", "--config", str(config)],
                env={**os.environ, "STATE_DIRECTORY": str(monitor.state_dir)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert monitor.stop()[0] == 0
        last = monitor.query("SELECT max(sequence) FROM outgoing")
        wait_until(lambda: [(max(collector.sequences),)] == last)
    assert f"publishing to {broker.url}/" in answer.stdout
    assert is_whole(collector.sequences)
    (epoch,) = collector.epochs
    messages = collector.by_sequence(epoch).values()
    sessions = [it.record for it in messages if it.type == "session"]
    assert [it["site"] for it in sessions] == ["north", "north"]
    (event,) = [it for it in messages if it.type == "event"][:1]
    assert event.record["end_reason"] == "interrupted"
    assert event.record["session"] == sessions[0]["session"]
    digest = [it.record for it in messages if it.type == "digest"][-1]
    assert [it["name"] for it in digest["sources"]] == ["command"]
    assert "scores" in collector.types(), "the last of a session too"
