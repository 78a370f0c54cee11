"""The private socket in the file system."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.sinks.status_socket import UnixSocket, address

LISTEN = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
print("listening", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that listens at `path`."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LISTEN, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as visitor, address(path) as name:
        visitor.settimeout(5)
        try:
            visitor.connect(name)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


@pytest.fixture
def door(tmp_path: Path) -> Iterator[UnixSocket]:
    door = UnixSocket(tmp_path / "run" / "status.sock")
    yield door
    door.close()


def test_only_its_user_may_enter(door: UnixSocket) -> None:
    before = os.umask(0)
    try:
        door.open()
    finally:
        os.umask(before)
    assert can_connect(door.path)
    assert stat.S_IMODE(door.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(door.path.parent.stat().st_mode) == 0o700


def test_it_is_gone_when_it_is_closed(door: UnixSocket) -> None:
    door.open()
    door.close()
    assert list(door.path.parent.iterdir()) == []


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    door = UnixSocket(tmp_path / "status.sock")
    with other_process(door.path) as other:
        other.kill()
        other.wait()
        assert door.path.exists()
        door.open()
    assert can_connect(door.path)
    door.close()


@pytest.mark.parametrize("state", ["lively", "stopped", "overrun"])
def test_a_living_process_is_never_replaced(tmp_path: Path, state: str) -> None:
    door = UnixSocket(tmp_path / "status.sock")
    with other_process(door.path) as other:
        if state == "stopped":
            other.send_signal(signal.SIGSTOP)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        if state == "overrun":
            for visitor in waiting:
                visitor.setblocking(False)
                visitor.connect_ex(str(door.path))
        inode = door.path.stat().st_ino
        with pytest.raises(OSError, match="in use"):
            door.open()
        assert door.path.stat().st_ino == inode
        for visitor in waiting:
            visitor.close()


def test_a_file_of_another_kind_is_never_replaced(tmp_path: Path) -> None:
    door = UnixSocket(tmp_path / "status.sock")
    door.path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        door.open()
    assert door.path.read_text() == "precious"


def test_the_socket_of_a_successor_stays(tmp_path: Path) -> None:
    door, successor = (
        UnixSocket(tmp_path / "status.sock"),
        UnixSocket(tmp_path / "status.sock"),
    )
    door.open()
    door.path.unlink()
    successor.open()
    door.close()
    assert can_connect(successor.path)
    successor.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/fd")
def test_a_path_may_be_longer_than_an_address(tmp_path: Path) -> None:
    door = UnixSocket(tmp_path / ("long" * 30) / ("longer" * 30) / "status.sock")
    assert len(str(door.path)) > 300
    door.open()
    assert can_connect(door.path)
    door.close()
    assert not door.path.exists()
    assert not can_connect(door.path)
