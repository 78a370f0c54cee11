"""The page as a service on a real systemd: it reads the state, and only reads it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import Machine, Service

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

FETCH = """
import sys, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8480" + sys.argv[1]).read().decode())
"""

PROBE = """
import sys
try:
    open("/var/lib/sound-monitor/probe", "w")
except OSError as error:
    print(error.strerror)
"""


@pytest.fixture(scope="module")
def page(machine: Machine, program: Path) -> Iterator[Service]:
    """The service of the page, installed beside that of the monitor."""
    install = [
        str(program),
        "install-service",
        "--web",
        "--config",
        "/root/config.yaml",
    ]
    said = machine.run(*install, check=False)
    service = Service(machine, "sound-monitor-web")
    assert service.show("ActiveState") == "active", f"{said}\n{service.journal}"
    yield service
    machine.run(str(program), "uninstall-service")


def fetch(machine: Machine, program: Path, path: str) -> str:
    python = str(program.with_name("python"))
    return machine.run(python, "-c", FETCH, path, check=False)


def test_it_shows_the_status_that_only_the_user_of_the_monitor_gets(
    page: Service, machine: Machine, program: Path
) -> None:
    page.wait_until(
        "showing that the monitor listens",
        lambda _: "listening to street" in fetch(machine, program, "/system"),
    )


def test_it_finds_the_monitor_again_after_a_restart(
    page: Service, machine: Machine, program: Path
) -> None:
    process = page.pid
    machine.run("systemctl", "restart", "sound-monitor")
    page.wait_until(
        "showing that the monitor listens",
        lambda _: "listening to street" in fetch(machine, program, "/system"),
    )
    assert page.pid == process


def test_the_sandbox_lets_it_read_the_card_of_the_model(
    page: Service, machine: Machine, program: Path
) -> None:
    assert "jackhammer" in fetch(machine, program, "/system/models"), page.journal


def test_it_may_not_write_the_state(
    page: Service, machine: Machine, program: Path
) -> None:
    inside = ["nsenter", "-t", str(page.pid), "-m", "--"]
    python = str(program.with_name("python"))
    said = machine.run(*inside, python, "-c", PROBE, check=False)
    assert "Read-only file system" in said


def test_a_password_of_root_is_read_by_the_service(
    page: Service, machine: Machine, program: Path
) -> None:
    set_password = f"echo secret-of-root | {program} web --set-password"
    said = machine.run("sh", "-c", set_password)
    assert "is set" in said
    assert "Sign in" in fetch(machine, program, "/system"), page.journal


def test_it_is_removed_with_the_monitor(
    page: Service, machine: Machine, program: Path
) -> None:
    machine.run(str(program), "uninstall-service")
    assert page.show("ActiveState") == "inactive"
    assert page.show("LoadState") == "not-found"
