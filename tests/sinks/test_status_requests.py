"""Requests to the status socket: no client delays another, whatever it sends."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import SoundMonitorError
from monitor.sinks import status_client, status_requests
from monitor.sinks.status_client import (
    ask_command,
    query_status,
)
from tests.support.clock import DEADLINE_SECONDS, wait_until
from tests.support.live import follow_live
from tests.support.status_server import echo, running, sent


def answer(path: Path, data: bytes) -> Any:
    with sent(path, data) as connection, connection.makefile("rb") as lines:
        return json.loads(lines.readline())


@pytest.mark.parametrize(
    "data", [b'{"request": "status"}\n', b'{"request": "status"}', b"\n", b""]
)
def test_a_request_or_none_is_answered_with_the_status(
    tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "status.sock"
    with running(path), sent(path, data) as client:
        if not data.endswith(b"\n") and data:
            client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as lines:
            assert json.loads(lines.readline())["schema"] == 1
            assert lines.read() == b""


def test_netcat_from_a_script_gets_the_status(tmp_path: Path) -> None:
    """Its input is closed at once."""
    path = tmp_path / "status.sock"
    with running(path), sent(path, b"") as client:
        client.shutdown(socket.SHUT_WR)
        assert client.makefile("rb").readline().startswith(b'{"schema": 1')


def test_a_command_is_done_and_answered(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with running(path, echo):
        result = ask_command([path], "review", {"ids": ["a", "b"]})
        with pytest.raises(SoundMonitorError, match="'refuse' is never done"):
            ask_command([path], "refuse", {})
        bare = answer(path, b'{"request": "command", "name": "reload"}\n')
    assert result == {"name": "review", "ids": ["a", "b"]}
    assert bare == {"ok": True, "result": {"name": "reload"}}


@pytest.mark.parametrize("name", ["fail", "nan"])
def test_a_command_that_fails_does_not_end_the_monitor(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "status.sock"
    with running(path, echo):
        with pytest.raises(SoundMonitorError, match="the command failed"):
            ask_command([path], name, {})
        assert query_status([path])["listening"]
    assert f"the command '{name}' failed" in caplog.text


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"hello\n", "this request is unknown here"),
        (b"[" * 50_000 + b"\n", "this request is unknown here"),
        (b"\xff\xfe\n", "this request is unknown here"),
        (b'{"request": "coffee"}\n', "this request is unknown here"),
        (b'{"request": "command", "name": 5}\n', "this request is unknown here"),
        (
            b'{"request": "command", "name": "x", "arguments": [1]}\n',
            "the arguments of a command are an object",
        ),
        (b"x" * 66_000, "a request has 65536 bytes at most"),
        (b'{"request": "live"}\n', "this monitor has no live feed"),
    ],
)
def test_a_request_that_makes_no_sense_gets_one_sentence(
    tmp_path: Path, data: bytes, sentence: str
) -> None:
    path = tmp_path / "status.sock"
    with running(path, echo):
        assert answer(path, data) == {"ok": False, "sentence": sentence}


def test_a_request_that_comes_too_late_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.sock"
    asked = []

    def late(connection: socket.socket, request: dict[str, Any]) -> None:
        asked.append(request)
        if len(asked) == 1:
            connection.recv(1, socket.MSG_PEEK)  # the status comes meanwhile
        send(connection, request)

    with running(path, echo):
        send = status_client._ask
        monkeypatch.setattr(status_client, "_ask", late)
        assert ask_command([path], "mute", {}) == {"name": "mute"}
    assert len(asked) == 2


def test_without_commands_none_is_known(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with running(path), pytest.raises(SoundMonitorError, match="no command 'mute'"):
        ask_command([path], "mute", {})


def test_clients_that_stall_anywhere_delay_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some send half a request, some read no answer, some wait for a command."""
    for name in ("SILENT", "REQUEST", "ANSWER", "COMMAND"):
        monkeypatch.setattr(status_requests, f"{name}_SECONDS", 3 * DEADLINE_SECONDS)
    path, over = tmp_path / "status.sock", threading.Event()

    def hang(_: str, __: Mapping[str, Any]) -> dict[str, Any]:
        over.wait(DEADLINE_SECONDS)
        return {}

    command = b'{"request": "command", "name": "hang"}\n'
    idle: list[socket.socket] = []
    with running(path, hang):
        try:
            stalled = (b'{"requ', b'{"request": "status"}\n', command)
            idle += [sent(path, data) for data in stalled]
            assert query_status([path], DEADLINE_SECONDS)["listening"]
        finally:
            over.set()
        for client in idle:
            client.close()


def test_a_command_that_hangs_is_answered_and_only_some_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_requests, "COMMAND_SECONDS", 0.3)
    path, over = tmp_path / "status.sock", threading.Event()
    done = []

    def hang(name: str, _: Mapping[str, Any]) -> dict[str, Any]:
        if name == "hang":
            over.wait(DEADLINE_SECONDS)
        done.append(name)
        return {}

    command = b'{"request": "command", "name": "hang"}\n'
    with running(path, hang):
        try:
            for _ in range(status_requests.MAX_COMMANDS - 1):
                late = answer(path, command)
                assert late["sentence"] == "it takes longer than 0.3 s, and goes on"
            with pytest.raises(SoundMonitorError, match="3 commands run already"):
                ask_command([path], "mute", {})
            for name in status_requests.REVIEWS:
                assert ask_command([path], name, {}) == {}
        finally:
            over.set()

        def is_done() -> bool:
            with suppress(SoundMonitorError):
                return ask_command([path], "mute", {}) == {}
            return False

        wait_until(is_done)
        wait_until(lambda: len(done) == 6)
    assert sorted(done) == ["hang"] * 3 + ["lock", "mute", "review"]


@pytest.mark.parametrize("name", status_requests.REVIEWS)
def test_a_flood_of_reviews_is_refused_too(name: str, tmp_path: Path) -> None:
    path, over = tmp_path / "status.sock", threading.Event()

    def hang(_: str, __: Mapping[str, Any]) -> dict[str, Any]:
        over.wait(DEADLINE_SECONDS)
        return {}

    request = json.dumps({"request": "command", "name": name}).encode() + b"\n"
    waiting = []
    with running(path, hang):
        try:
            for _ in range(status_requests.MAX_COMMANDS):
                waiting.append(sent(path, request))
                assert query_status([path], DEADLINE_SECONDS)["listening"]
            assert answer(path, request)["sentence"].startswith("4 commands run")
        finally:
            over.set()
        for client in waiting:
            assert json.loads(client.recv(4096)) == {"ok": True, "result": {}}
            client.close()


def test_a_machine_without_a_thread_for_a_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path = tmp_path / "status.sock"
    with running(path, echo), monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(SoundMonitorError, match="has no more threads"):
            ask_command([path], "mute", {})
        assert query_status([path], DEADLINE_SECONDS)["listening"]


def test_a_client_that_stops_within_its_request_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_requests, "REQUEST_SECONDS", 0.1)
    path = tmp_path / "status.sock"
    with running(path), sent(path, b'{"requ') as client:
        assert client.recv(1) == b""


def test_many_idle_clients_replace_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_requests, "SILENT_SECONDS", DEADLINE_SECONDS)
    path = tmp_path / "status.sock"
    with running(path):
        idle = [sent(path, b"") for _ in range(2 * status_requests.MAX_CLIENTS)]
        assert query_status([path], DEADLINE_SECONDS)["listening"]
        assert idle[0].recv(1) == b""
        for client in idle:
            client.close()


def test_a_client_that_follows_keeps_its_connection(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    taken: list[socket.socket] = []

    def follow(connection: socket.socket) -> bool:
        if taken:
            return False
        connection.sendall(b'{"type": "hello"}\n{"type": "status"}\n')
        taken.append(connection)
        return True

    with running(path, follow=follow):
        lines = follow_live(path)
        assert [next(lines)["type"], next(lines)["type"]] == ["hello", "status"]
        assert "too many programs follow" in next(follow_live(path))["sentence"]
        taken[0].close()
        assert list(lines) == []


def test_without_a_monitor_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with pytest.raises(SoundMonitorError, match="the monitor is not running"):
        ask_command([path], "mute", {})


def test_a_monitor_of_an_older_version_knows_no_command(tmp_path: Path) -> None:
    """It writes its status to every client, reads nothing, and closes."""
    path = tmp_path / "old.sock"
    old = (
        "import socket, sys\n"
        "listener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind(sys.argv[1])\n"
        "listener.listen(4)\n"
        "while True:\n"
        "    client, _ = listener.accept()\n"
        '    line = b\'{"schema": 1, "running": true, "listening": true, \'\n'
        '    client.sendall(line + b\'"sentence": "old"}\\n\')\n'
        "    client.close()\n"
    )
    server = subprocess.Popen([sys.executable, "-I", "-S", "-c", old, str(path)])
    try:
        wait_until(lambda: query_status([path])["sentence"] == "old")
        with pytest.raises(SoundMonitorError, match="of another version"):
            ask_command([path], "mute", {})
    finally:
        server.kill()
        server.wait()
