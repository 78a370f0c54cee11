"""A microphone that falls ill, from its samples to a webhook."""

import json
from pathlib import Path
from typing import Any

from tests.support.daemon import RunningMonitor
from tests.support.endpoint import running_endpoint
from tests.support.programs import program

# In real time, at 8 kHz: what is named, for so many seconds; then noise for ever.
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
began, told = time.monotonic(), 0
def play(kind, seconds):
    global told
    for _ in range(round(10 * seconds)):
        tenth(kind)
        told += 1
        time.sleep(max(0, began + told / 10 - time.monotonic()))
play("noise", 2)
"""
AFTERWARDS = """
play("noise", 1e9)
"""
QUICK = {"hold_seconds": 1, "clear_seconds": 1, "deaf_seconds": 2}


def configured(folder: Path, url: str, command: str, **rule: Any) -> str:
    path = folder / "config.yaml"
    told = {"name": "health", "on": ["health"], "webhook": {"url": url}, **rule}
    source = {"name": "street", "input": f"command:{command}", "sample_rate": 8000}
    path.write_text(
        json.dumps({"sources": [source], "alerts": [told], "health": QUICK})
    )
    return str(path)


def told_of(
    tmp_path: Path, code: str, count: int, **rule: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first alerts and all records of health while a program plays."""
    with running_endpoint() as endpoint:
        config = configured(tmp_path, endpoint.url, program(code), **rule)
        with RunningMonitor(tmp_path, "--config", config) as monitor:
            endpoint.wait_for(count, 90)
            assert monitor.stop()[0] == 0, monitor.log
            bodies = [json.loads(request.body) for request in endpoint.requests]
            return bodies, monitor.records("health")


def test_clipping_and_then_silence_are_told_to_a_webhook_and_so_is_their_end(
    tmp_path: Path,
) -> None:
    play = PLAY + 'play("clips", 3)\nplay("noise", 2.5)\nplay("is silent", 3)'
    sounds = ["clipping", "digital-silence"]
    alerts, records = told_of(tmp_path, play + AFTERWARDS, 4, kinds=sounds)
    records = [record for record in records if record["kind"] in sounds]
    told = [(body["health"], body["state"]) for body in alerts]
    assert told == [
        ("clipping", "raised"),
        ("clipping", "cleared"),
        ("digital-silence", "raised"),
        ("digital-silence", "cleared"),
    ]
    assert [(it["kind"], it["state"]) for it in records] == told
    assert all(body["source"] == "street" for body in alerts)
    for record in records[1::2]:
        assert record["end_seconds"] - record["start_seconds"] == 3.0


def test_a_source_that_is_not_heard_is_told_as_deaf_until_the_monitor_stops(
    tmp_path: Path,
) -> None:
    alerts, records = told_of(tmp_path, "sys.exit(3)", 1, kinds=["deaf"])
    assert alerts[0]["message"].startswith("deaf at street: command ")
    raised, cleared = records
    assert (raised["kind"], raised["state"]) == ("deaf", "raised")
    assert cleared["id"] == raised["id"]
    assert cleared["detail"] == "the monitor was stopped"
    assert [body["state"] for body in alerts] in (["raised"], ["raised", "cleared"])


def test_a_source_that_comes_back_is_deaf_no_more(tmp_path: Path) -> None:
    """The second time that it is started, it delivers."""
    mark = tmp_path / "mark"
    late = f"""
if not os.path.exists({str(mark)!r}):
    time.sleep(5)
    open({str(mark)!r}, "w").close()
    sys.exit(3)
"""
    alerts, _ = told_of(tmp_path, late + PLAY + AFTERWARDS, 2)
    assert [body["state"] for body in alerts[:2]] == ["raised", "cleared"]
    assert alerts[0]["health"] == alerts[1]["health"] == "deaf"
