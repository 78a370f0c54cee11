"""The service manager is told what sd_notify(3) says, and nobody else is."""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.runtime.supervisor import ServiceManager


@pytest.fixture(params=["file", "abstract"])
def listening(request, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket like that of systemd, and its name in $NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "file" else f"@{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if name[0] == "@" else name)
        listener.settimeout(5)
        yield listener, name


def test_every_message_arrives_as_a_datagram_of_its_own(listening):
    listener, name = listening
    manager = ServiceManager({"NOTIFY_SOCKET": name})
    manager.status("one\ntwo")
    manager.ready()
    before = time.monotonic()
    manager.reloading()
    manager.alive()
    manager.ready()
    manager.stopping()
    messages = [listener.recv(4096).decode() for _ in range(6)]
    head, _, microseconds = messages.pop(2).rpartition("=")
    assert head == "RELOADING=1\nMONOTONIC_USEC"
    assert before - 1e-3 <= int(microseconds) / 1e6 <= time.monotonic()
    assert messages == [
        "STATUS=one two",
        "READY=1",
        "WATCHDOG=1",
        "READY=1",
        "STOPPING=1",
    ]


def test_nobody_is_told_where_nobody_listens(caplog):
    ServiceManager({}).ready()
    assert not caplog.records


def test_a_service_manager_that_has_gone_harms_nothing_and_is_said_once(
    tmp_path, caplog
):
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    manager.ready()
    manager.alive()
    assert len(caplog.records) == 1


def test_a_service_manager_that_hangs_is_not_waited_for(tmp_path, caplog):
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        manager = ServiceManager({"NOTIFY_SOCKET": name})
        for _ in range(10_000):
            manager.alive()  # the listener's queue is full after some
            if caplog.records:
                break
    assert "cannot be told" in caplog.text


def test_programs_that_the_monitor_starts_cannot_speak_in_its_name():
    environ = {"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
    ServiceManager(environ)
    assert environ == {}


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_counts_if_it_is_meant_for_this_process(environ, seconds):
    assert ServiceManager(dict(environ)).watchdog_seconds == seconds
