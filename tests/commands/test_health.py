"""The commands that tell of health, and the one that deletes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.commands.app import run_command_line
from monitor.sinks.encoding import encode
from tests.support.clock import FakeClock
from tests.support.health import as_16_bit, trouble
from tests.support.signals import noise, silence
from tests.support.store import make_store, score_frames
from tests.support.timed import OPENED, event

CLEARED = trouble("cleared", start_seconds=15, seconds=75)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TZ", "UTC")
    clock = FakeClock()
    clock.wall = OPENED
    store = make_store(tmp_path / "state" / "monitor.db", clock)
    store.write([event(number=1, start_seconds=10, seconds=5)])
    store.write([trouble(start_seconds=15), CLEARED])
    store.write([event(number=2, start_seconds=20, seconds=5), *score_frames(60)])
    store.write([trouble(kind="deaf", source="yard", start_seconds=30)])
    store.close()
    path = tmp_path / "config.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    assert run_command_line([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_events_show_troubles_between_the_sounds(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, *lines = run(capsys, "events", "--config", config)
    assert [line.split()[3] for line in lines] == [
        "siren",
        "(clipping)",
        "siren",
        "(deaf)",
    ]
    assert "1m 15s" in lines[1]
    assert lines[1].endswith("cleared")
    assert lines[3].endswith("going on")


def test_events_as_json_have_them_in_the_form_of_the_event_log(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(capsys, "events", "--config", config, "--json", "--source", "street")
    assert json.loads(lines[1]) == encode(CLEARED)
    assert len(lines) == 3


@pytest.mark.parametrize(
    "asking", [["--label", "siren"], ["--min-score", "0"], ["--csv"]]
)
def test_who_asks_for_sounds_gets_no_troubles(
    config: Path, capsys: pytest.CaptureFixture[str], asking: list[str]
) -> None:
    assert len(run(capsys, "events", "--config", config, *asking)) == 3


def test_the_report_of_the_day_has_a_line_for_each(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(capsys, "report", "2026-11-23", "--config", config)
    (found,) = [line for line in lines if "clipping" in line]
    assert "1m 15s" in found
    assert found.endswith("turn the gain down")
    text = "".join(run(capsys, "report", "2026-11-23", "--json", "--config", config))
    assert [each["kind"] for each in json.loads(text)["health"]] == ["clipping", "deaf"]


def test_forget_says_how_many_are_gone(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line, *_) = run(capsys, "forget", "--all", "--config", config)
    assert "2 events, 0 gaps, 2 troubles, 60 score frames" in line
    assert len(run(capsys, "events", "--config", config)) == 1


def test_analyze_tells_of_clipping_and_not_of_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = as_16_bit(noise(20, 0.3, 16_000), gain=10)
    padded = np.concatenate([silence(30, 16_000), loud, silence(30, 16_000)], axis=1)
    path = tmp_path / "padded.wav"
    soundfile.write(path, padded[0], 16_000, "PCM_16")
    lines = run(capsys, "analyze", path)
    (found,) = [line for line in lines if "(" in line]
    assert found.split() == ["0:00:30.0", "0:00:50.0", "20.0", "s", "(clipping)"]
    records = [json.loads(line) for line in run(capsys, "analyze", path, "--json")]
    health = [record for record in records if record["type"] == "health"]
    assert [(it["kind"], it["state"], it["source"]) for it in health] == [
        ("clipping", "cleared", str(path))
    ]
