"""The canary in a running daemon: its result in status, its failure as health."""

import json
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.status_client import query_status
from tests.support.daemon import RunningMonitor
from tests.support.endpoint import running_endpoint
from tests.support.source_programs import program

SECONDS = 90.0
QUIET = """
import random
put(b"".join(struct.pack("<h", random.randrange(-4, 5)) for _ in range(44100)))
while True:
    time.sleep(0.1)
    put(b"".join(struct.pack("<h", random.randrange(-4, 5)) for _ in range(4410)))
"""


def started(folder: Path, **settings: Any) -> RunningMonitor:
    path = folder / "config.yaml"
    source = {"name": "yard", "input": f"command:{program(QUIET)}"}
    status = {"socket": "status.sock"}
    path.write_text(json.dumps({"sources": [source], "status": status, **settings}))
    return RunningMonitor(folder, "--config", str(path))


def canary(monitor: RunningMonitor) -> dict[str, Any] | None:
    document = query_status([monitor.state_dir / "status.sock"])
    sources = document.get("sources", [])
    return sources[0]["canary"] if sources else None


def test_the_known_sound_is_detected_and_makes_no_records(tmp_path: Path) -> None:
    with started(tmp_path) as monitor:
        monitor.wait_until(canary, SECONDS)
        found = canary(monitor)
        assert monitor.stop()[0] == 0
        assert found is not None
        assert (found["ok"], found["label"]) == (True, "siren")
        assert found["score"] > 0.7
        assert not any("siren" in line for line in monitor.lines)
        assert monitor.records("onset") == monitor.records("event") == []
        assert monitor.records("health") == []


@pytest.mark.slow
def test_a_rule_that_can_never_fire_is_reported_as_health(tmp_path: Path) -> None:
    with running_endpoint() as endpoint:
        rule = {"name": "ill", "on": ["health"], "webhook": {"url": endpoint.url}}
        never = {"labels": {"siren": {"onset_threshold": 0.9999}}}
        settings = {"detection": never, "canary": {"label": "siren"}}
        with started(tmp_path, alerts=[rule], **settings) as monitor:
            monitor.wait_until(lambda it: it.records("health"), SECONDS)
            (request, *_) = endpoint.wait_for(1, SECONDS)
            found = canary(monitor)
            assert monitor.stop()[0] == 0
    assert found is not None
    assert not found["ok"]
    raised = monitor.records("health")[0]
    assert (raised["source"], raised["kind"], raised["state"]) == (
        "yard",
        "canary",
        "raised",
    )
    assert "below its threshold" in raised["detail"]
    assert json.loads(request.body)["source"] == "yard"
