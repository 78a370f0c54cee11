"""The daemon with clips, MQTT, a heartbeat, and clips in messages."""

import json
import stat
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import soundfile

from monitor.commands.app import run_command_line
from tests.support.broker import needs_mosquitto, running_broker, subscribed
from tests.support.daemon import RunningMonitor
from tests.support.endpoint import running_endpoint


def configured(folder: Path, **settings: Any) -> str:
    path = folder / "config.yaml"
    path.write_text(json.dumps({"state_dir": str(folder / "state"), **settings}))
    return str(path)


@needs_mosquitto
def test_a_siren_is_stored_as_a_clip_and_published_and_the_heartbeat_is_sent(
    tmp_path: Path, siren_command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        running_endpoint() as endpoint,
    ):
        config = configured(
            tmp_path,
            sources=[{"name": "street", "input": siren_command}],
            privacy="clips",
            clips={"min_free_mib": 0},
            mqtt={"host": "localhost", "port": broker.port},
            heartbeat={"url": endpoint.url, "every_seconds": 1},
        )
        with RunningMonitor(tmp_path, "--config", config) as monitor:
            monitor.wait_for_line("siren  began", 90)
            subscriber.wait_for("sound-monitor/street/label/siren", "ON")
            endpoint.wait_for(2)
            code, _ = monitor.stop()
        subscriber.wait_for("sound-monitor/street/label/siren", "OFF")
        subscriber.wait_for("sound-monitor/availability", "offline")
    assert code == 0, monitor.log
    clips = list((tmp_path / "state" / "clips").glob("*_street_siren.flac"))
    clip = clips[0]
    assert stat.S_IMODE(clip.stat().st_mode) == 0o600
    assert clip.with_suffix(".png").exists()
    samples, rate = soundfile.read(clip)
    assert len(samples) > rate
    assert abs(samples).max() > 0.01
    run_command_line(["forget", "--all", "--yes", "--config", config])
    assert f"deleted: {len(clips)} clip" in capsys.readouterr().out
    assert not clip.exists()
    assert not clip.with_suffix(".png").exists()


def test_the_end_of_a_siren_comes_by_ntfy_with_its_spectrogram(
    tmp_path: Path, passing_siren_command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_endpoint() as ntfy:
        monkeypatch.setenv("NTFY", f"ntfy://127.0.0.1:{ntfy.port}/street")
        rule = {
            "name": "siren",
            "labels": ["siren"],
            "on": ["onset", "end"],
            "notify": {"url_secret": "env:NTFY", "attach": ["picture"]},
        }
        config = configured(
            tmp_path,
            sources=[{"name": "street", "input": passing_siren_command}],
            privacy="clips",
            clips={"min_free_mib": 0, "after_seconds": 0.5},
            alerts=[rule],
        )
        with RunningMonitor(tmp_path, "--config", config) as monitor:
            onset, end = ntfy.wait_for(2, 60)
            assert monitor.stop()[0] == 0, monitor.log
    assert "siren at street (score" in json.loads(onset.body)["message"]
    query = parse_qs(urlsplit(end.path).query)
    assert urlsplit(end.path).path == "/street"
    assert query["message"][0].startswith("siren at street ended after")
    assert query["filename"][0].endswith("_street_siren.png")
    assert end.body.startswith(b"\x89PNG")
