"""A booted machine on which the service is installed, as its user would do it."""

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.audio.sources.demo import SCENE, render_scene
from tests.support import ROOT
from tests.support.debian import (
    Machine,
    Service,
    UnavailableError,
    find_obstacle,
    installed_debian,
)
from tests.support.source_programs import LOOP

RATE = 44_100
WATCHDOG_SECONDS = 10

CONFIG = """
sources:
  - {{name: street, input: "command:{python} /srv/test/loop.py /srv/test/siren.pcm"}}
"""

DROP_IN = f"""
[Service]
WatchdogSec={WATCHDOG_SECONDS}
LoadCredential=webhook-token:/etc/sound-monitor/webhook-token
ExecStartPre={{python}} /srv/test/probe.py
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in a fresh environment, into which the wheel was installed."""
    environment = tmp_path_factory.mktemp("opt") / "sound-monitor"
    venv.create(environment, symlinks=True)
    pip = [sys.executable, "-m", "pip", f"--python={environment}", "install", "-q"]
    subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)
    # Its dependencies are gigabytes, and those of this environment will do.
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / python / "site-packages"
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin" / "sound-monitor"


@pytest.fixture(scope="session")
def machine(
    program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A booted Debian with the environment of `program` and a source to install."""
    binds = [program.parents[1], Path(sysconfig.get_path("purelib"))]
    if sys.base_prefix != "/usr":
        binds.append(Path(sys.base_prefix))
    console = tmp_path_factory.mktemp("machine") / "console"
    try:
        booted = Machine(installed_debian(), console, binds)
    except UnavailableError as error:
        pytest.skip(str(error))
    with booted:
        furnish(booted, program.with_name("python"))
        yield booted


def furnish(machine: Machine, python: Path) -> None:
    """Install the files of the test in the machine."""
    siren = render_scene(RATE)[
        0, round(SCENE[0].start_seconds * RATE) : round(SCENE[0].end_seconds * RATE)
    ]
    probe = Path(__file__).with_name("probe.py").read_bytes()
    token = b"token"
    files = {
        "/srv/test/siren.pcm": (siren * 32767).astype("<i2").tobytes(),
        "/srv/test/loop.py": LOOP.encode(),
        "/srv/test/probe.py": probe,
        "/srv/test/of-group-audio": b"readable by group audio",
        "/etc/sound-monitor/webhook-token": token,
        "/root/config.yaml": CONFIG.format(python=python).encode(),
        "/etc/systemd/system/sound-monitor.service.d/test.conf": DROP_IN.format(
            python=python
        ).encode(),
    }
    for name, content in files.items():
        path = machine.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    machine.path("/etc/sound-monitor/webhook-token").chmod(0o600)
    machine.run("chgrp", "audio", "/srv/test/of-group-audio")
    machine.path("/srv/test/of-group-audio").chmod(0o640)


@pytest.fixture(scope="session")
def service(machine: Machine, program: Path) -> Service:
    """The service, installed and started by the command."""
    service = Service(machine, "sound-monitor")
    install = [str(program), "install-service", "--config", "/root/config.yaml"]
    said = machine.run(*install, check=False)
    assert service.show("ActiveState") == "active", f"{said}\n{service.journal}"
    return service


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip before anything is downloaded, if no machine can be booted here."""
    obstacle = find_obstacle()
    for item in items:
        if obstacle is not None and item.get_closest_marker("system"):
            item.add_marker(pytest.mark.skip(reason=f"system test: {obstacle}"))
