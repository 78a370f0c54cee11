"""`check` says where records go, or why they cannot; `status` how many wait."""

import json
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.commands.status import print_status
from tests.support.status import FakeMonitor


def check(folder: Path, section: str, *options: str) -> int:
    config = folder / "config.yaml"
    config.write_text(f"state_dir: {folder}\npublish: {section}\n")
    return run_command_line(["check", "--config", str(config), *options])


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("mqtts://b", "mqtts://b:8883/sound-monitor-fleet/yard/records"),
        ("nats://b", "nats://b:4222/sound-monitor-fleet.yard.records"),
    ],
)
def test_check_says_where_records_go(
    url: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = f"{{url: '{url}', monitor: yard}}"
    assert check(tmp_path, section) == 0
    assert f"publish: records of yard go to {target}\n" in capsys.readouterr().out
    assert check(tmp_path, section, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["publishing"] == {"monitor": "yard", "target": target}


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (
            "{url: 'nats://b', nkey: 'env:NO_SUCH_SEED'}",
            "publish.nkey: the variable NO_SUCH_SEED is not set",
        ),
        (
            "{url: 'nats://b', nkey: 'file:%s/config.yaml'}",
            "publish.nkey: is no NKey seed, which begins with SU",
        ),
        (
            "{url: 'mqtts://b', ca_file: /no/such/file}",
            "publish.ca_file: /no/such/file cannot be read",
        ),
    ],
)
def test_check_says_what_is_missing(
    section: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, section.replace("%s", str(tmp_path))) == 2
    assert problem in capsys.readouterr().out


def test_status_says_how_many_records_wait_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = FakeMonitor(tmp_path)
    monitor.report()
    document = monitor.tracker.snapshot()
    assert document["publishing"] is None
    facts = {
        "monitor": "yard",
        "target": "mqtt://b:1883/fleet/yard/records",
        "pending": 3,
        "problem": "no collector subscribes to this broker",
        "problem_since": document["time"],
    }
    mqtt = {
        "target": "mqtt://b:1883",
        "connected": False,
        "problem": "mqtt://b:1883 refuses: Not authorized",
        "problem_since": document["time"],
    }
    print_status({**document, "publishing": facts, "mqtt": mqtt})
    shown = " ".join(capsys.readouterr().out.split())
    assert f"publishing to {facts['target']}: 3 records pending; for " in shown
    assert ": no collector subscribes to this broker" in shown
    assert "mqtt: not connected for " in shown
    assert ": mqtt://b:1883 refuses: Not authorized" in shown


def test_settings_that_have_no_effect_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "{}\nmqtt: {page_url: 'http://10.0.0.2'}\nclips: {max_age_days: 1}\n"
    assert check(tmp_path, text) == 0
    shown = capsys.readouterr().out
    assert "note: mqtt.page_url: without mqtt.host, the section has no" in shown
    assert "note: clips.max_age_days: no clips are stored, unless" in shown
