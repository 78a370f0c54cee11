"""The app of Home Assistant: what the Supervisor accepts, and what the monitor does."""

import importlib.util
import json
import re
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor import __version__
from monitor.commands.app import run_command_line
from monitor.config.load import parse_config
from tests.support import ROOT
from tests.support.supervisor import RULES, faults_of, option_faults, services

FOLDER = ROOT / "packaging" / "home-assistant"
APP = FOLDER / "sound_monitor"
CONFIG = yaml.safe_load((APP / "config.yaml").read_text())
TOKEN, PASSWORD, CAMERA = "the-supervisors-token", "of the: broker", "of 'the' camera"
BROKER = {
    "app": "core_mosquitto",
    "host": "core-mosquitto",
    "port": 1883,
    "ssl": False,
    "protocol": "3.1.1",
    "username": "addons",
    "password": PASSWORD,
}


def load_start() -> Any:
    """The program that starts the app; it is no part of the package."""
    spec = importlib.util.spec_from_file_location("start", APP / "start.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


start = load_start()


def test_the_supervisor_accepts_every_key() -> None:
    assert list(faults_of(CONFIG)) == []
    assert CONFIG["version"] == __version__
    broken = CONFIG | {"watchdog": "http://localhost/", "ingres": True}
    assert len(list(faults_of(broken))) == 2
    assert CONFIG.keys() & RULES.keys()


def test_the_default_options_fit_the_schema() -> None:
    assert list(option_faults(CONFIG["schema"], CONFIG["options"])) == []
    other = CONFIG["options"] | {"sensitivity": 2, "model": "rural"}
    assert len(list(option_faults(CONFIG["schema"], other))) == 2


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_option_is_explained(language: str) -> None:
    file = APP / "translations" / f"{language}.yaml"
    texts = yaml.safe_load(file.read_text())
    assert texts.keys() == {"configuration"}
    assert_explained(CONFIG["schema"], texts["configuration"])


def assert_explained(schema: Mapping[str, Any], texts: Mapping[str, Any]) -> None:
    assert texts.keys() == schema.keys()
    for key, kind in schema.items():
        text = texts[key]
        assert text.keys() <= {"name", "description", "fields"}
        assert all(isinstance(text[each], str) for each in text.keys() - {"fields"})
        inner = kind[0] if isinstance(kind, list) else kind
        if isinstance(inner, dict):
            assert_explained(inner, text["fields"])


def test_ports_of_the_monitor_are_those_that_the_supervisor_asks() -> None:
    assert start.PAGE.endswith(f":{CONFIG['ingress_port']}")
    port = start.HEALTH.rpartition(":")[2]
    assert CONFIG["watchdog"] == f"http://[HOST]:{port}/livez"
    assert "ports" not in CONFIG


def test_the_image_has_what_the_app_needs() -> None:
    text = (APP / "Dockerfile").read_text()
    extras = re.search(r"\$\{wheel\}\[([a-z,]+)\]", text)
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = project["optional-dependencies"].keys()
    assert {"web", "mqtt", "metrics"} <= set(extras[1].split(",")) <= known
    command = json.loads(text.rpartition("CMD ")[2])
    assert f"COPY start.py {command[1]}\n" in text


def test_a_repository_has_a_name() -> None:
    repository = yaml.safe_load((FOLDER / "repository.yaml").read_text())
    assert repository.keys() <= {"name", "url", "maintainer"}
    assert repository["name"]


def test_the_profile_is_that_of_the_app_and_is_valid() -> None:
    profile = APP / "apparmor.txt"
    names = re.findall(r"^profile ([^ ]+).*$", profile.read_text(), re.MULTILINE)
    assert names == [CONFIG["slug"]]
    parser = shutil.which("apparmor_parser") or shutil.which("/sbin/apparmor_parser")
    if parser is None:
        pytest.skip("needs apparmor_parser, of Debian's package apparmor")
    check = [parser, "--skip-kernel-load", "--skip-cache", str(profile)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def prepared(
    tmp_path: Path,
    options: Mapping[str, Any],
    broker: Mapping[str, Any] | None = BROKER,
    extra: str = "",
) -> Path:
    """Write the configuration of an app with these options."""
    chosen = CONFIG["options"] | options
    assert list(option_faults(CONFIG["schema"], chosen)) == []
    data, own = tmp_path / "data", tmp_path / "config" / "monitor.yaml"
    data.mkdir(exist_ok=True)
    (data / "options.json").write_text(json.dumps(chosen))
    if extra:
        own.parent.mkdir(exist_ok=True)
        own.write_text(extra)
    with services(TOKEN, broker) as address:
        file = start.prepare(data, own, address, {"SUPERVISOR_TOKEN": TOKEN})
    assert isinstance(file, Path)
    return file


CAMERA_SOURCE = {
    "name": "yard",
    "input": "rtsp://camera.local/stream",
    "username": "viewer",
    "password": CAMERA,
}
ENCRYPTED_SOURCE = {
    "name": "yard",
    "input": "rtsps://camera.local/stream",
    "ca_file": "",
    "verify_certificate": False,
}
OPTIONS = [
    {},
    {"sources": [{"name": "demo", "input": "demo:", "username": "", "password": ""}]},
    {"model": "both", "labels": ["siren", "speech", ""], "sensitivity": 1},
    {"model": "world", "clips": True, "change_on_page": False, "sensitivity": 0.25},
    {"sources": [CAMERA_SOURCE]},
    {"sources": [ENCRYPTED_SOURCE]},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_check_accepts_what_options_become_and_no_secret_is_in_it(
    tmp_path: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    file = prepared(tmp_path, options)
    assert run_command_line(["check", "--config", str(file)]) == 0
    shown = file.read_text() + caplog.text
    for secret in (PASSWORD, CAMERA, TOKEN):
        assert secret not in shown
    assert (tmp_path / "data/secrets/mqtt").read_text() == f"{PASSWORD}\n"
    for each in (file, *(tmp_path / "data/secrets").iterdir()):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_options_arrive_in_the_monitor(tmp_path: Path) -> None:
    file = prepared(tmp_path, {"labels": ["siren"], "clips": True, "sensitivity": 0.7})
    config = parse_config(file.read_text(), str(file))
    assert (config.labels, config.privacy) == (("siren",), "clips")
    assert config.detection.sensitivity == 0.7
    assert (config.mqtt.host, config.mqtt.username) == ("core-mosquitto", "addons")
    assert config.web.proxy_signs_in
    assert config.web.trusted_proxy == "172.30.32.2"
    assert config.web.may_change == ("sensitivity", "mute")


@pytest.mark.parametrize("broker", [None, {"host": "x"}, {"result": []}])
def test_without_a_broker_nothing_is_published(
    tmp_path: Path, broker: dict[str, Any] | None
) -> None:
    file = prepared(tmp_path, {}, broker)
    assert parse_config(file.read_text(), str(file)).mqtt.host is None


def test_without_a_supervisor_it_starts_too(tmp_path: Path) -> None:
    prepared(tmp_path, {})
    data, extra = tmp_path / "data", tmp_path / "monitor.yaml"
    file = start.prepare(data, extra, "http://127.0.0.1:9", {})
    assert parse_config(file.read_text(), str(file)).mqtt.host is None


EXTRA = """\
mqtt: {host: broker.example.org, topic: house}
detection: {labels: {siren: {sensitivity: 0.9}}}
web: {listen: "0.0.0.0:1", language: de, proxy_signs_in: false}
"""


def test_a_file_adds_settings_and_cannot_open_the_page(tmp_path: Path) -> None:
    file = prepared(tmp_path, {"sensitivity": 0.3}, extra=EXTRA)
    config = parse_config(file.read_text(), str(file))
    assert (config.mqtt.host, config.mqtt.password) == ("broker.example.org", None)
    assert config.detection.sensitivity == 0.3
    assert config.detection.labels["siren"].sensitivity == 0.9
    assert (config.web.listen, config.web.language) == ("0.0.0.0:8099", "de")
    assert config.web.proxy_signs_in


def test_a_file_that_is_no_yaml_is_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = prepared(tmp_path, {})
    extra = tmp_path / "monitor.yaml"
    extra.write_text("alerts: [")
    monkeypatch.setattr(start.prepare, "__defaults__", (file.parent, extra, "", {}))
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == 2
    (line,) = caplog.messages
    assert line.startswith(f"{extra}:1")
