"""The monitor in Home Assistant itself, from the broker to its entities."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import numpy as np
import pytest
import soundfile

from monitor.sinks.status_client import query_status
from tests.support.broker import Broker, needs_mosquitto, running_broker
from tests.support.city_sounds import RATE, sounds
from tests.support.daemon import RunningMonitor
from tests.support.debian import UnavailableError
from tests.support.home_assistant_core import HomeAssistant, installed_home_assistant
from tests.support.rtsp_camera import Camera, CameraSettings, missing

pytestmark = [pytest.mark.home_assistant, pytest.mark.timeout(1800), needs_mosquitto]

QUIET_SECONDS, OUTAGE_SECONDS = 8.0, 60.0
REPORTED_SECONDS, BACK_SECONDS = 3.0, 5.0
STREET, YARD = "sound_monitor_street", "sound_monitor_yard"
EVENT, MUTE = f"event.{STREET}_sound", "switch.sound_monitor_mute_alerts"
SENSITIVITY = "number.sound_monitor_sensitivity_siren"
SIREN, CONNECTED = (
    f"binary_sensor.{STREET}_siren",
    "binary_sensor.sound_monitor_connected",
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="module")
def home(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HomeAssistant]:
    try:
        system = installed_home_assistant()
    except UnavailableError as error:
        pytest.skip(str(error))
    log = tmp_path_factory.mktemp("home") / "log"
    with HomeAssistant(system, log, broker.port) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one installation: another would have entities of its own."""
    return tmp_path_factory.mktemp("monitor")


def configuration(folder: Path, port: int, *sources: str, **more: Any) -> str:
    names = {"street": 0, "yard": 94}
    settings = {
        "sources": [
            {"name": name, "input": "demo:", "level_offset_db": names[name]}
            for name in sources
        ],
        "status": {"socket": "status.sock"},
        "privacy": "clips",
        "clips": {"min_free_mib": 0},
        "alerts": [{"name": "night", "labels": ["siren"], "command": ["true"]}],
        "mqtt": {
            "host": "127.0.0.1",
            "port": port,
            "every_seconds": 1,
            "may_change": ["mute", "sensitivity"],
        },
        **more,
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(settings))
    return str(path)


def test_a_siren_is_in_home_assistant_as_it_happens(
    broker: Broker, home: HomeAssistant, folder: Path
) -> None:
    path = configuration(folder, broker.port, "street", "yard")
    with RunningMonitor(folder, "--config", path) as monitor:
        home.wait_until(lambda: home.state(CONNECTED) == "on")
        monitor.wait_for_line("siren  began")
        printed = time()
        home.wait_until(lambda: home.state(SIREN) == "on", 3)
        home.wait_until(lambda: home.state(EVENT) not in ("unknown", None), 3)
        late = time() - printed
        event = home.states()[EVENT]["attributes"]
        assert event["event_type"] == "siren"
        assert event["score"] > 0.5
        assert event["start"].startswith("20")
        # It began at most 1.5 s before it was printed: 3 s in all.
        assert late < 1.5
        home.wait_until(lambda: home.state(f"{EVENT}_ended") != "unknown", 40)
        ended = home.states()[f"{EVENT}_ended"]["attributes"]
        assert (ended["id"], ended["event_type"]) == (event["id"], "siren")
        assert 10 < ended["duration"] < 18
        home.wait_until(lambda: home.state(f"sensor.{STREET}_sounds_today") == "1")
        states = home.states()
        assert states[f"sensor.{STREET}_sounds_today"]["attributes"]["siren"] == 1
        assert states[f"sensor.{STREET}_last_sound"]["state"] in ("siren", "drilling")
        assert states[f"binary_sensor.{STREET}_listening"]["state"] == "on"
        assert states[f"binary_sensor.{STREET}_microphone_problem"]["state"] == "off"
        loudness = states[f"sensor.{YARD}_laeq"]
        assert -26 <= float(loudness["state"]) < 94
        assert loudness["attributes"]["device_class"] == "sound_pressure"
        assert loudness["attributes"]["unit_of_measurement"] == "dBA"
        picture = f"image.{STREET}_latest_sound"
        home.wait_until(lambda: home.state(picture) != "unknown")
        assert home.image(picture).startswith(b"\x89PNG")
        assert all(len(each["state"]) <= 255 for each in states.values())
        assert not any(each["state"].startswith("{") for each in states.values())
    assert "ERROR" not in home.log


def test_alerts_are_muted_and_a_sensitivity_set_from_home_assistant(
    broker: Broker, home: HomeAssistant, folder: Path
) -> None:
    path = configuration(folder, broker.port, "street")
    with RunningMonitor(folder, "--config", path) as monitor:
        home.wait_until(lambda: home.state(MUTE) == "off")
        home.act("switch/turn_on", MUTE)
        home.wait_until(lambda: home.state(MUTE) == "on")
        (mute,) = query_status([monitor.state_dir / "status.sock"])["mutes"]
        assert mute["rule"] == "night"
        home.act("switch/turn_off", MUTE)
        home.wait_until(lambda: home.state(MUTE) == "off")
        home.act("number/set_value", SENSITIVITY, value=0.7)
        home.wait_until(lambda: home.state(SENSITIVITY) == "0.7")
        monitor.wait_until(lambda it: "thresholds changed: siren" in it.log, 20)
    assert "siren" in (monitor.state_dir / "overrides.yaml").read_text()


@pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")
def test_a_siren_at_a_camera_is_an_event_and_an_outage_is_seen(
    broker: Broker, home: HomeAssistant, folder: Path, tmp_path: Path
) -> None:
    quiet = 0.001 * np.random.default_rng(1).standard_normal(
        round(QUIET_SECONDS * RATE)
    )
    played = np.concatenate([quiet, sounds()["siren"][0], np.tile(quiet, 20)])
    soundfile.write(tmp_path / "siren.wav", played, RATE, "PCM_16")
    camera = Camera(
        CameraSettings(codec="opus", rate=48_000, recording=str(tmp_path / "siren.wav"))
    )
    gate = {"name": "gate", "input": camera.url}
    path = configuration(folder, broker.port, sources=[gate])
    siren, event = (
        "binary_sensor.sound_monitor_gate_siren",
        "event.sound_monitor_gate_sound",
    )
    try:
        with RunningMonitor(folder, "--config", path) as monitor:
            opened = monitor.wait_for_line("gate  listening", 60)
            known = len(monitor.records("gap"))  # of the runs before
            home.wait_until(lambda: home.state(siren) == "on", 30)
            assert monotonic() - (opened + QUIET_SECONDS) < REPORTED_SECONDS
            assert home.states()[event]["attributes"]["event_type"] == "siren"
            camera.stop()
            home.wait_until(lambda: home.state(siren) == "unavailable", 15)
            sleep(OUTAGE_SECONDS)
            camera.start()
            began = monotonic()
            home.wait_until(lambda: home.state(siren) in ("on", "off"), 30)
            assert monotonic() - began < BACK_SECONDS
            monitor.wait_until(lambda it: len(it.records("gap")) > known, 30)
        (gap,) = monitor.records("gap")[known:]
        lost = gap["stop_sample"] - gap["start_sample"]
        assert OUTAGE_SECONDS <= lost / RATE < OUTAGE_SECONDS + 15
        assert gap["end_reason"] == "unplugged"
    finally:
        camera.stop()


def test_what_is_gone_is_gone_and_a_kill_makes_everything_unavailable(
    broker: Broker, home: HomeAssistant, folder: Path
) -> None:
    path = configuration(folder, broker.port, "street", "yard")
    with RunningMonitor(folder, "--config", path) as monitor:
        home.wait_until(lambda: home.state(f"binary_sensor.{YARD}_siren") == "off")
        monitor.process.kill()
        home.wait_until(lambda: home.state(SIREN) == "unavailable", 60)
        home.wait_until(lambda: home.state(CONNECTED) == "off")
    configuration(folder, broker.port, "street", model="world")
    gone = f"binary_sensor.{STREET}_street_music"
    home.wait_until(lambda: home.state(gone) == "unavailable")
    with RunningMonitor(folder, "--config", path):
        home.wait_until(lambda: home.state(SIREN) == "off", 40)
        home.wait_until(lambda: home.state(gone) is None)
        home.wait_until(lambda: home.state(f"binary_sensor.{YARD}_siren") is None)
        assert home.state(f"binary_sensor.{STREET}_speech") in ("on", "off")
