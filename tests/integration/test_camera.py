"""The daemon on a camera: a siren is detected, and nobody reads the password."""

import json
import os
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep, time

import numpy as np
import psutil
import pytest
import soundfile

from monitor.commands.app import run_command_line
from monitor.sinks.status_client import client_paths, query_status
from tests.support.city_sounds import RATE, sounds
from tests.support.daemon import RunningMonitor
from tests.support.rtsp_camera import Camera, CameraSettings, missing

LACK = missing()
pytestmark = [
    pytest.mark.camera,
    pytest.mark.slow,
    pytest.mark.skipif(bool(LACK), reason=f"needs {LACK}"),
    pytest.mark.timeout(180),
]

PASSWORD = "p@ss:w/rd #1%'"
REPORTED_SECONDS = 3.0
QUIET_SECONDS = 8.0
DEADLINE_SECONDS = 30.0
BACK_SECONDS = 5.0


@pytest.fixture
def camera(tmp_path: Path):
    """A camera with a password; a siren begins eight seconds after each connection."""
    rng = np.random.default_rng(1)
    quiet = 0.001 * rng.standard_normal(round(QUIET_SECONDS * RATE))
    played = np.concatenate([quiet, sounds()["siren"][0], np.tile(quiet, 4)])
    path = tmp_path / "siren.wav"
    soundfile.write(path, played, RATE, "PCM_16")
    it = Camera(
        CameraSettings(
            codec="opus",
            rate=48_000,
            recording=str(path),
            user="admin",
            password=PASSWORD,
        )
    )
    yield it
    it.stop()


def monitor_of(camera: Camera, folder: Path) -> RunningMonitor:
    path = folder / "config.yaml"
    source = {"name": "gate", "input": camera.url, "username": "admin"}
    path.write_text(json.dumps({"sources": [source | {"password": "env:GATE"}]}))
    return RunningMonitor(folder, "--config", str(path), GATE=PASSWORD)


def status(monitor: RunningMonitor) -> dict:
    return query_status(client_paths(None, monitor.state_dir, os.environ))


def states(monitor: RunningMonitor, state: str) -> int:
    return sum(state in line for line in monitor.lines)


def test_a_siren_is_reported_within_three_seconds(tmp_path: Path, camera: Camera):
    with monitor_of(camera, tmp_path) as monitor:
        opened = monitor.wait_for_line("listening", DEADLINE_SECONDS)
        opened_utc = time()
        monitor.wait_until(lambda it: it.records("onset"), DEADLINE_SECONDS)
        assert monotonic() - (opened + QUIET_SECONDS) < REPORTED_SECONDS
        (onset,) = monitor.records("onset")[:1]
        assert onset["label"] == "siren"
        began = opened_utc + QUIET_SECONDS
        start = datetime.fromisoformat(onset["start"]).timestamp()
        assert start == pytest.approx(began, abs=1.5)


def test_the_password_is_nowhere(tmp_path: Path, camera: Camera):
    with monitor_of(camera, tmp_path) as monitor:
        monitor.wait_for_line("listening", DEADLINE_SECONDS)
        children = psutil.Process(monitor.process.pid).children(recursive=True)
        said = [str((child.cmdline(), child.environ())) for child in children]
        assert any("ffmpeg" in text for text in said)
        said += [json.dumps(status(monitor))]
        camera.stop()
        monitor.wait_for_line("waiting", DEADLINE_SECONDS)
        said += [json.dumps(status(monitor))]
        assert monitor.stop()[0] == 0
        said += [monitor.log, *monitor.lines]
        said += [json.dumps(it) for it in monitor.records("gap")]
    for text in said:
        assert "p@ss" not in text
        assert "p%40ss" not in text


def test_a_camera_that_is_gone_for_a_while_is_back_soon(tmp_path: Path, camera: Camera):
    with monitor_of(camera, tmp_path) as monitor:
        monitor.wait_for_line("listening", DEADLINE_SECONDS)
        sleep(3)
        camera.stop()
        monitor.wait_for_line("waiting", DEADLINE_SECONDS)
        sleep(10)
        camera.start()
        back = monotonic()
        monitor.wait_until(lambda it: states(it, "listening") == 2, DEADLINE_SECONDS)
        assert monotonic() - back < BACK_SECONDS
        monitor.wait_until(lambda it: it.records("gap"), DEADLINE_SECONDS)
        sleep(2)
        assert monitor.stop()[0] == 0
        assert [it["end_reason"] for it in monitor.records("gap")] == ["unplugged"]


def test_a_trial_says_what_the_camera_offers(
    tmp_path: Path,
    camera: Camera,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("GATE", PASSWORD)
    path = tmp_path / "config.yaml"
    source = {"name": "gate", "input": camera.url, "username": "admin"}
    config = {
        "sources": [source | {"password": "env:GATE"}],
        "state_dir": str(tmp_path),
    }
    path.write_text(json.dumps(config))
    check = ["check", "--config", str(path), "--try-sources"]
    assert run_command_line(check) == 0
    assert (
        "offers opus, 48000 Hz, stereo, and a picture (JPEG)" in capsys.readouterr().out
    )
    camera.stop()
    assert run_command_line([*check, "--json"]) == 1
    (trial,) = json.loads(capsys.readouterr().out)["trials"].values()
    assert not trial["works"]
    assert "cannot be reached: Connection refused" in trial["sentence"]
