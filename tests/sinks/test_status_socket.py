"""The unix socket: its file, its server, and what a client sees of them."""

import fcntl
import json
import logging
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

from monitor.sinks import status_socket
from monitor.sinks.status_client import query_status
from monitor.sinks.status_socket import StatusSocket, private_socket
from tests.support.clock import DEADLINE_SECONDS, wait_until
from tests.support.status import FakeMonitor

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
    """Run another process that listens at `path` and never answers."""
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


@contextmanager
def running(monitor: FakeMonitor, path: Path) -> Iterator[StatusSocket]:
    """Run a status socket at `path` that has begun to answer."""
    sink = StatusSocket(monitor.tracker, path)
    try:
        sink.report(monitor.report())
        wait_until(lambda: query_status([path])["running"])
        yield sink
    finally:
        sink.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_user_can_connect(tmp_path: Path) -> None:
    path = tmp_path / "run" / "status.sock"
    before = os.umask(0)
    try:
        with private_socket(path):
            assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    finally:
        os.umask(before)
    assert list(path.parent.iterdir()) == []


def test_the_socket_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with other_process(path) as other:
        other.kill()
        other.wait()
        assert path.exists()
        with running(FakeMonitor(tmp_path), path):
            assert query_status([path])["listening"]


@pytest.mark.parametrize("state", ["working", "stopped", "overrun"])
def test_the_socket_of_a_living_process_is_never_replaced(
    tmp_path: Path, state: str
) -> None:
    path = tmp_path / "status.sock"
    with other_process(path) as other:
        if state == "stopped":
            other.send_signal(signal.SIGSTOP)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        if state == "overrun":
            for client in clients:
                client.setblocking(False)
                client.connect_ex(str(path))
        inode = path.stat().st_ino
        with pytest.raises(OSError, match="in use"), private_socket(path):
            pass
        assert path.stat().st_ino == inode
        for client in clients:
            client.close()


def test_a_file_of_another_kind_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"), private_socket(path):
        pass
    assert path.read_text() == "precious"


def test_the_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    first = private_socket(path)
    first.__enter__()
    path.unlink()
    with private_socket(path):
        first.__exit__(None, None, None)
        assert path.exists()
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/fd")
def test_a_path_may_be_longer_than_an_address(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 30) / ("longer" * 30) / "status.sock"
    assert len(str(path)) > 300
    with running(FakeMonitor(tmp_path), path):
        assert query_status([path])["listening"]
    assert not path.exists()
    assert not query_status([path])["running"]


def test_a_client_gets_one_document(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with running(FakeMonitor(tmp_path), path):
        status = query_status([tmp_path / "none.sock", path])
        assert mode(path) == 0o600
    keys = ("schema", "running", "listening", "pid")
    assert [status[key] for key in keys] == [1, True, True, 4711]
    assert not path.exists()


def test_the_answer_is_one_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with running(FakeMonitor(tmp_path), path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        with client.makefile("rb") as answer:
            line, rest = answer.readline(), answer.read()
    assert json.loads(line)["schema"] == 1
    assert rest == b""


def test_it_answers_while_the_worker_hangs(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    monitor = FakeMonitor(tmp_path)
    with running(monitor, path):
        monitor.clock.advance(60)
        status = query_status([path])
    assert (status["running"], status["listening"]) == (True, False)
    assert "the analysis hangs" in status["sentence"]


def test_a_lock_of_a_stranger_on_the_folder_does_not_matter(tmp_path: Path) -> None:
    """Everyone who can read a folder can lock it."""
    path = tmp_path / "status.sock"
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with private_socket(path):
            assert path.is_socket()
            with pytest.raises(OSError, match="in use"), private_socket(path):
                pass
        assert not path.exists()
    finally:
        os.close(descriptor)


def test_clients_that_read_nothing_do_not_block_others(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    monitor = FakeMonitor(tmp_path)
    with running(monitor, path):
        # More than the buffer of a socket holds.
        monitor.report(*(f"source-{number}" for number in range(2000)))
        idle = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in idle:
            client.connect(str(path))
        assert query_status([path], DEADLINE_SECONDS)["listening"]
        for client in idle:
            client.close()


def test_clients_that_are_gone_at_once_do_not_delay_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.sock"
    with running(FakeMonitor(tmp_path), path):
        # The server would wait for so long after a failure of its own.
        monkeypatch.setattr(status_socket, "POLL_SECONDS", 2 * DEADLINE_SECONDS)
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        assert query_status([path], DEADLINE_SECONDS)["listening"]


def test_a_killed_monitor_is_reported_unless_another_one_answers(
    tmp_path: Path,
) -> None:
    path = tmp_path / "status.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.close()
    status = query_status([path])
    assert not status["running"]
    assert "it was killed" in status["sentence"]
    with running(FakeMonitor(tmp_path), tmp_path / "other.sock"):
        assert query_status([path, tmp_path / "other.sock"])["listening"]


def test_a_stopped_process_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with other_process(path) as process:
        process.send_signal(signal.SIGSTOP)
        status = query_status([path], 0.3)
    assert status["sentence"] == (
        f"the monitor (process {process.pid}) is stopped by a signal: it does nothing "
        "until SIGCONT"
    )


def test_a_path_in_use_is_logged_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.sinks.status_socket.RETRY_SECONDS", 0.01)
    path = tmp_path / "status.sock"
    first, second = FakeMonitor(tmp_path), FakeMonitor(tmp_path)
    second.daemon.pid = 4712
    with running(first, path):
        late = StatusSocket(second.tracker, path)
        late.report(second.report())
        wait_until(lambda: "another monitor answers there" in caplog.text)
        assert query_status([path])["pid"] == 4711
    wait_until(lambda: query_status([path])["pid"] == 4712)
    late.close()
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1


def test_an_impossible_folder_is_logged_and_the_monitor_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    monitor = FakeMonitor(tmp_path)
    sink = StatusSocket(monitor.tracker, tmp_path / "state" / "status.sock")
    sink.report(monitor.report())
    wait_until(lambda: "set status.socket to another path" in caplog.text)
    sink.report(monitor.report())
    sink.close()


def test_a_status_that_cannot_be_told_is_no_failure_of_the_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monitor, path = FakeMonitor(tmp_path), tmp_path / "status.sock"

    def fail() -> None:
        raise MemoryError("no more")

    with running(monitor, path) as sink:
        with monkeypatch.context() as patch:
            patch.setattr(monitor.tracker, "snapshot", fail)
            for _ in range(2):
                answer = query_status([path])
                assert answer["running"]
                assert not answer["listening"]
                assert "no more" in answer["sentence"]
            sink.report(monitor.report())
        assert query_status([path])["listening"]
    assert [each.levelname for each in caplog.records] == ["ERROR"]
