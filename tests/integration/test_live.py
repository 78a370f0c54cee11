"""The live feed of a real daemon, while it detects and through a reload."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.commands.app import run_command_line
from monitor.sinks.status_client import ask_recent, query_status
from tests.support.daemon import RunningMonitor
from tests.support.live import follow_live


def first(lines: Iterator[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(line for line in lines if line["type"] == kind)


def test_what_is_heard_is_followed_through_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    settings: dict[str, Any] = {"sources": [{"name": "street", "input": "demo:"}]}
    config.write_text(json.dumps(settings))
    with RunningMonitor(tmp_path, "--config", str(config)) as monitor:
        socket = monitor.state_dir / "status.sock"
        monitor.wait_until(lambda _: query_status([socket])["running"], 60)
        lines = follow_live(socket, 60)
        hello = next(lines)
        assert [each["name"] for each in hello["sources"]] == ["street"]
        scores = first(lines, "scores")
        assert len(scores["top"]) == 5
        assert scores["top"][0]["reason"] == "threshold"
        onset = first(lines, "onset")
        assert onset["label"] == "siren"
        going_on = first(lines, "scores")
        assert going_on["top"][0]["going_on"]
        assert going_on["ongoing"][0]["id"] == onset["id"]
        settings["sources"] += [{"name": "yard", "input": "demo:"}]
        config.write_text(json.dumps(settings))
        monitor.process.send_signal(signal.SIGHUP)
        hello = first(lines, "hello")
        assert [each["name"] for each in hello["sources"]] == ["street", "yard"]
        while first(lines, "columns")["source"] != "yard":
            pass  # it opens yet
        assert first(lines, "levels")["level_dbfs"] < 0
        before = ask_recent([socket])["sources"][0]["levels"][0]
        monkeypatch.setenv("STATE_DIRECTORY", str(monitor.state_dir))
        run_command_line(["forget", "--all", "--yes", "--config", str(config)])
        monitor.wait_until(
            lambda _: before not in [*_levels_of(ask_recent([socket]))], 20
        )
        lines.close()


def _levels_of(recent: dict[str, Any]) -> Iterator[list[Any]]:
    for source in recent["sources"]:
        yield from source["levels"]
