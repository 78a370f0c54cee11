"""The service on a real systemd: it starts, detects, recovers from faults and stops.

The tests share one machine and build on each other's order.
"""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.debian import Machine, Service
from tests.system.conftest import WATCHDOG_SECONDS

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

STATE = "/var/lib/private/sound-monitor"
MOST_EXPOSURE = 2.0


def records(machine: Machine) -> list[dict[str, Any]]:
    path = machine.path(f"{STATE}/events.jsonl")
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def sirens(machine: Machine) -> int:
    """How often a siren began."""
    return sum(
        record["type"] == "onset" and record["label"] == "siren"
        for record in records(machine)
    )


def wait_until_it_hears_again(service: Service, machine: Machine, before: int) -> float:
    return service.wait_until("detected", lambda _: sirens(machine) > before)


def test_it_becomes_active_and_shows_its_status(service: Service) -> None:
    assert service.show("ActiveState") == "active"
    assert service.show("NotifyAccess") == "main"
    service.wait_until(
        "said how it does",
        lambda it: it.show("StatusText").startswith("listening to 1 of 1 sources;"),
    )


def test_it_detects_sounds(service: Service, machine: Machine) -> None:
    wait_until_it_hears_again(service, machine, 0)


def test_root_can_read_its_status(service: Service, machine: Machine) -> None:
    # As the documentation calls it, in a root shell's own PATH.
    asked = machine.run("bash", "-lc", "sound-monitor status --json", check=False)
    status = json.loads(asked)
    assert status["pid"], status
    assert status["configuration"] == "/etc/sound-monitor/config.yaml"
    assert [source["name"] for source in status["sources"]] == ["street"]
    assert status["watchdog"]["limit_seconds"] == WATCHDOG_SECONDS
    assert status["disk"]["state_dir"] == "/var/lib/sound-monitor"
    mode = machine.run("stat", "-L", "-c", "%a", "/run/sound-monitor/status.sock")
    assert mode.strip() == "600"


def test_its_sandbox_is_rated_tight(service: Service, machine: Machine) -> None:
    table = machine.run("systemd-analyze", "security", "--no-pager", "sound-monitor")
    found = re.search(r"exposure level for .*: ([\d.]+)", table)
    assert found is not None, table
    assert float(found[1]) <= MOST_EXPOSURE


def test_the_sandbox_denies_only_the_forbidden_operations(
    service: Service, machine: Machine
) -> None:
    tries = json.loads(machine.path(f"{STATE}/probe.json").read_text())
    allowed = {name for name, outcome in tries.items() if outcome == "done"}
    assert allowed == {
        "write /tmp",  # its own
        "write /var/tmp",
        "write /var/lib/sound-monitor",
        "write /run/sound-monitor",
        "write /var/log/sound-monitor",
        "AF_INET",
        "AF_UNIX",
        "read credential",
        "read file of group audio",
        "executable memory",
    }, tries


def test_it_writes_only_into_its_state_folder(
    service: Service, machine: Machine
) -> None:
    uid = machine.run("stat", "-c", "%u", f"/proc/{service.pid}").strip()
    assert uid != "0"
    places = ("/", "/run", "/tmp", "/var/tmp", "/dev/shm")
    own = machine.run("find", *places, "-xdev", "-uid", uid, check=False)
    elsewhere = [
        path
        for path in own.splitlines()
        if not re.match(r"/(var/lib|var/log|run)/(private/)?sound-monitor", path)
        and "systemd-private-" not in path  # its /tmp and /var/tmp
        and not path.startswith(("find:", "/run/credentials/"))  # made by systemd
    ]
    assert elsewhere == []


def test_a_killed_capture_child_is_replaced(service: Service, machine: Machine) -> None:
    pid = service.pid
    gaps = sum(record["type"] == "gap" for record in records(machine))
    before = sirens(machine)
    machine.run("pkill", "-KILL", "-f", "/srv/test/loop.py")
    service.wait_until(
        "reported as a gap",
        lambda _: sum(r["type"] == "gap" for r in records(machine)) > gaps,
    )
    wait_until_it_hears_again(service, machine, before)
    assert service.pid == pid


def test_a_reload_keeps_the_process_and_opens_the_log_anew(
    service: Service, machine: Machine
) -> None:
    pid = service.pid
    log = machine.path(f"{STATE}/events.jsonl")
    log.rename(log.with_name("moved.jsonl"))
    machine.run("systemctl", "reload", "sound-monitor")
    service.wait_until("opened anew", lambda _: log.exists(), 20)
    service.wait_until("active", lambda it: it.show("ActiveState") == "active", 20)
    service.wait_until("said", lambda it: "reloaded: nothing changed" in it.journal, 20)
    assert service.pid == pid


def test_a_reload_accepts_a_valid_configuration_and_rejects_an_invalid_one_as_a_whole(
    service: Service, machine: Machine
) -> None:
    pid = service.pid
    gaps = sum(record["type"] == "gap" for record in records(machine))
    config = machine.path("/etc/sound-monitor/config.yaml")
    before = config.read_text()
    config.write_text(f"{before}surces: []\n")
    machine.run("systemctl", "reload", "sound-monitor")
    service.wait_until(
        "refused",
        lambda it: it.show("StatusText").startswith(
            "the new configuration was rejected"
        ),
        60,
    )
    assert "did you mean sources?" in service.journal
    assert service.show("ActiveState") == "active"
    config.write_text(f"{before}detection: {{labels: {{siren: {{margin: 0.01}}}}}}\n")
    machine.run("systemctl", "reload", "sound-monitor")
    service.wait_until(
        "taken", lambda it: "reloaded: thresholds changed: siren" in it.journal, 60
    )
    service.wait_until(
        "well", lambda it: it.show("StatusText").startswith("listening to 1 of 1"), 60
    )
    assert service.show("ActiveState") == "active"
    assert service.pid == pid
    assert sum(record["type"] == "gap" for record in records(machine)) == gaps


def test_a_killed_daemon_is_started_again_and_ends_its_ongoing_events(
    service: Service, machine: Machine, program: Path
) -> None:
    # A siren has just begun: it goes on when the kill comes.
    wait_until_it_hears_again(service, machine, sirens(machine))
    pid, before = service.pid, sirens(machine)
    machine.run("kill", "-KILL", str(pid))
    service.wait_until("started again", lambda it: it.pid not in (0, pid))
    wait_until_it_hears_again(service, machine, before)
    state = "STATE_DIRECTORY=/var/lib/sound-monitor"
    assert "interrupted" in machine.run("env", state, str(program), "events", "--json")


def test_a_daemon_that_hangs_is_ended_with_its_traces_and_started_again(
    service: Service, machine: Machine
) -> None:
    pid, before = service.pid, sirens(machine)
    restarts = int(service.show("NRestarts"))
    machine.run("kill", "-STOP", str(pid))
    service.wait_until(
        "started again",
        lambda it: it.pid not in (0, pid),
        WATCHDOG_SECONDS + 60,
    )
    wait_until_it_hears_again(service, machine, before)
    assert int(service.show("NRestarts")) == restarts + 1
    assert "Fatal Python error: Aborted" in service.journal


def test_it_stops_in_less_than_two_seconds(service: Service, machine: Machine) -> None:
    began = time.monotonic()
    machine.run("systemctl", "stop", "sound-monitor")
    seconds = time.monotonic() - began
    assert service.show("Result") == "success", service.journal
    assert service.show("ExecMainStatus") == "0"
    assert seconds < 2
    last = [record for record in records(machine) if record["type"] == "event"][-1]
    assert last["end_reason"] == "stopped"


def test_uninstalling_keeps_its_data(
    service: Service, machine: Machine, program: Path
) -> None:
    assert machine.path("/usr/local/bin/sound-monitor").readlink() == program
    machine.run(str(program), "uninstall-service")
    assert not machine.path("/etc/systemd/system/sound-monitor.service").exists()
    assert machine.path("/etc/sound-monitor/config.yaml").exists()
    assert machine.path(f"{STATE}/monitor.db").exists()
    assert not machine.path("/usr/local/bin/sound-monitor").is_symlink()
