"""What the files of the container promise, without building it."""

import json
import re
import tomllib

import pytest

from monitor.commands.app import COMMANDS
from monitor.config.load import parse_config
from tests.support import ROOT
from tests.support.container_files import (
    COMPOSE,
    FOLDER,
    SERVICES,
    STATE,
    base_image,
    extras,
    instructions,
    values,
)

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
CONFIG = parse_config((FOLDER / "config" / "config.yaml").read_text(), "config.yaml")


def test_the_build_copies_exactly_what_the_wheel_is_made_of() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]}
    needed |= {*wheel["packages"], *wheel["force-include"]}
    copied = [
        source
        for value in values("COPY")
        if not value.startswith("--from")
        for source in value.split()[:-1]
    ]
    assert sorted(copied) == sorted(needed)
    assert all((ROOT / source).exists() for source in copied)


def test_the_python_of_the_base_is_one_that_the_project_supports() -> None:
    version = re.search(r"python:(\d+)\.(\d+)-slim", base_image())
    least = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["requires-python"])
    assert version is not None
    assert least is not None
    assert tuple(map(int, version.groups())) >= tuple(map(int, least.groups()))


def test_the_image_has_no_extra_unless_one_is_asked_for() -> None:
    assert 'EXTRAS=""' in values("ARG")


def test_ffmpeg_is_in_the_image_if_it_is_asked_for_alone() -> None:
    assert 'PACKAGES=""' in values("ARG")
    (install,) = [run for run in values("RUN") if "apt-get" in run]
    assert "pulseaudio-utils ${PACKAGES}" in install
    assert "ffmpeg" not in install
    assert "--build-arg PACKAGES=ffmpeg" in (ROOT / "docs/container.md").read_text()


def test_the_extras_of_compose_exist_and_serve_its_services() -> None:
    assert set(extras()) <= PROJECT["optional-dependencies"].keys()
    assert {"web", "mqtt"} <= set(extras())


def test_the_image_does_not_run_as_root_and_has_a_health_check() -> None:
    words = [word for word, _ in instructions()]
    last_stage = words[len(words) - words[::-1].index("FROM") :]
    assert last_stage.count("USER") == 1
    assert last_stage.index("USER") > last_stage.index("RUN")
    assert values("USER") == ["${USER_ID}"]
    assert "USER_ID=1000" in values("ARG")
    (check,) = values("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command == ["sound-monitor", "status"]
    assert command[1] in COMMANDS
    assert SERVICES["monitor"]["healthcheck"]["test"] == ["CMD", *command]


def test_the_image_has_a_watchdog_and_compose_starts_it_again() -> None:
    (command,) = values("CMD")
    assert json.loads(command) == ["run", "--watchdog", "30"]
    assert "command" not in SERVICES["monitor"]
    assert SERVICES["monitor"]["restart"] == "unless-stopped"


def test_the_image_and_compose_keep_the_state_at_one_place() -> None:
    assert values("VOLUME") == [STATE]
    assert any(f"STATE_DIRECTORY={STATE}" in value for value in values("ENV"))
    mounts = {name: SERVICES[name]["volumes"] for name in ("monitor", "web")}
    assert f"state:{STATE}" in mounts["monitor"]
    assert f"state:{STATE}:ro" in mounts["web"]
    assert "state" in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert str(service.get("user", "1000")).split(":")[0] not in ("0", "root")
    assert "mem_limit" in service


def test_the_paths_of_compose_exist() -> None:
    build = SERVICES["monitor"]["build"]
    context = FOLDER / build["context"]
    assert context.resolve() == ROOT.resolve()
    assert (context / build["dockerfile"]).is_file()
    sources = [
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service["volumes"]
        if volume.startswith(".")
    ]
    assert len(sources) == 3
    assert all((FOLDER / source).exists() for source in sources)


def test_the_configuration_fits_the_services() -> None:
    assert CONFIG.mqtt.host in SERVICES
    assert CONFIG.mqtt.password == "env:MQTT_PASSWORD"
    for name in ("monitor", "mosquitto"):
        assert "MQTT_PASSWORD" in SERVICES[name]["environment"]
    assert f"passwd -b -c /tmp/passwords {CONFIG.mqtt.username} " in " ".join(
        SERVICES["mosquitto"]["command"]
    )
    host, _, port = CONFIG.web.listen.rpartition(":")
    assert host == "0.0.0.0"
    assert SERVICES["web"]["ports"] == [f"{port}:{port}"]
    assert f":{port}/" in " ".join(SERVICES["web"]["healthcheck"]["test"])
