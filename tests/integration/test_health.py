"""Problems of a microphone, from its samples to the alert at a webhook."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import RunningMonitor
from tests.support.endpoint import running_endpoint
from tests.support.source_programs import program

# Plays kinds of sound in real time at 8 kHz, each for some seconds; then noise.
PLAY = """
import random, math
random.seed(1)
def tenth(kind):
    if kind == "clips":
        wave = [3 * math.sin(2 * math.pi * 300 * n / 8000) for n in range(800)]
    elif kind == "is silent":
        wave = [0.0] * 800
    else:
        wave = [random.gauss(0, 0.03) for _ in range(800)]
    put(struct.pack("<800h", *(round(32767 * max(-1, min(1, x))) for x in wave)))
began, played = time.monotonic(), 0
def play(kind, seconds):
    global played
    for _ in range(round(10 * seconds)):
        tenth(kind)
        played += 1
        time.sleep(max(0, began + played / 10 - time.monotonic()))
play("noise", 2)
"""
AFTERWARDS = """
play("noise", 1e9)
"""
QUICK = {"hold_seconds": 1, "clear_seconds": 1, "deaf_seconds": 2}


def configured(folder: Path, url: str, command: str, **rule: Any) -> str:
    path = folder / "config.yaml"
    alert = {"name": "health", "on": ["health"], "webhook": {"url": url}, **rule}
    source = {"name": "street", "input": f"command:{command}", "sample_rate": 8000}
    path.write_text(
        json.dumps({"sources": [source], "alerts": [alert], "health": QUICK})
    )
    return str(path)


def alerts_and_records(
    tmp_path: Path, code: str, count: int, **rule: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the first `count` alerts and all health records while a program plays."""
    with running_endpoint() as endpoint:
        config = configured(tmp_path, endpoint.url, program(code), **rule)
        with RunningMonitor(tmp_path, "--config", config) as monitor:
            endpoint.wait_for(count, 90)
            assert monitor.stop()[0] == 0, monitor.log
            bodies = [json.loads(request.body) for request in endpoint.requests]
            return bodies, monitor.records("health")


@pytest.mark.slow
def test_clipping_and_then_silence_are_raised_and_cleared_at_a_webhook(
    tmp_path: Path,
) -> None:
    play = PLAY + 'play("clips", 3)\nplay("noise", 2.5)\nplay("is silent", 3)'
    sounds = ["clipping", "digital-silence"]
    alerts, records = alerts_and_records(tmp_path, play + AFTERWARDS, 4, kinds=sounds)
    records = [record for record in records if record["kind"] in sounds]
    states = [(body["health"], body["state"]) for body in alerts]
    assert states == [
        ("clipping", "raised"),
        ("clipping", "cleared"),
        ("digital-silence", "raised"),
        ("digital-silence", "cleared"),
    ]
    assert [(it["kind"], it["state"]) for it in records] == states
    assert all(body["source"] == "street" for body in alerts)
    for record in records[1::2]:
        assert record["end_seconds"] - record["start_seconds"] == 3.0


def test_a_source_that_delivers_nothing_is_deaf_until_the_monitor_stops(
    tmp_path: Path,
) -> None:
    alerts, records = alerts_and_records(tmp_path, "sys.exit(3)", 1, kinds=["deaf"])
    assert alerts[0]["message"].startswith("deaf at street: command ")
    raised, cleared = records
    assert (raised["kind"], raised["state"]) == ("deaf", "raised")
    assert cleared["id"] == raised["id"]
    assert cleared["detail"] == "the monitor was stopped"
    assert [body["state"] for body in alerts] in (["raised"], ["raised", "cleared"])
