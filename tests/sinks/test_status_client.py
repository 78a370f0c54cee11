"""The client of the status socket: where it looks, and what it makes of an answer."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.sinks.status_client import (
    SERVICE_SOCKET,
    client_paths,
    query_status,
    server_path,
)
from monitor.sinks.status_socket import private_socket
from tests.support.clock import DEADLINE_SECONDS

STATE = Path("/var/lib/sound-monitor")


@contextmanager
def answering(path: Path, answer: bytes, *, closes: bool = True) -> Iterator[None]:
    """Answer one client at `path` with these bytes; then close, or say no more."""
    over = threading.Event()
    with private_socket(path) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(answer)
                if not closes:
                    over.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def test_a_service_has_its_socket_in_its_runtime_folder() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/sound-monitor:/run/more"}
    assert server_path(None, STATE, environ) == SERVICE_SOCKET


def test_monitors_of_one_user_have_sockets_of_their_own(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    paths = {server_path(None, state, environ) for state in (STATE, tmp_path)}
    assert len(paths) == 2
    assert {path.parent for path in paths} == {tmp_path / "sound-monitor"}


def test_without_a_runtime_folder_the_socket_is_in_the_state_folder() -> None:
    environ = {"XDG_RUNTIME_DIR": "/there/is/none"}
    assert server_path(None, STATE, environ) == STATE / "status.sock"


def test_the_configuration_may_name_the_socket(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/x", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert server_path("my.sock", STATE, environ) == STATE / "my.sock"
    assert server_path("/srv/my.sock", STATE, environ) == Path("/srv/my.sock")
    assert client_paths("my.sock", STATE, environ) == [STATE / "my.sock"]


def test_a_client_with_other_variables_finds_the_socket(tmp_path: Path) -> None:
    session = {"XDG_RUNTIME_DIR": str(tmp_path)}
    for environ in ({}, session, {"RUNTIME_DIRECTORY": str(SERVICE_SOCKET.parent)}):
        path = server_path(None, STATE, environ)
        assert path in client_paths(None, STATE, session)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"schema": 1}',
        b'{"schema": 1, "running": true, "listening": "yes", "sentence": "ok"}',
        b'{"schema": 1, "running": true, "listening": true, "sentence": 5}',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_no_status_is_one_sentence(
    tmp_path: Path, answer: bytes
) -> None:
    path = tmp_path / "status.sock"

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(answer)

    with private_socket(path) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        document = query_status([path], DEADLINE_SECONDS)
        server.join()
    assert not document["listening"]
    assert str(path) in document["sentence"]


def test_without_a_monitor_the_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    paths = [tmp_path / "none.sock", tmp_path / "a file" / "none.sock"]
    assert query_status(paths) == {
        "schema": 1,
        "running": False,
        "listening": False,
        "sentence": f"the monitor is not running: there is no {paths[0]} or {paths[1]}",
        "pid": None,
    }


@pytest.mark.parametrize("answer", [b"", b'{"schema": 1, '])
def test_a_monitor_that_hangs_is_reported(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "status.sock"
    with answering(path, answer, closes=False):
        status = query_status([path], 0.3)
    assert (status["running"], status["listening"]) == (True, False)
    assert status["pid"] == os.getpid()
    assert "does not answer within 0.3 s" in status["sentence"]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"hello\n", "gave no answer that makes sense"),
        (b"[1]\n", "of another version"),
        (b'{"schema": 2}\n', "of another version"),
    ],
)
def test_another_program_is_not_taken_for_a_monitor(
    tmp_path: Path, answer: bytes, sentence: str
) -> None:
    path = tmp_path / "status.sock"
    with answering(path, answer):
        status = query_status([path])
    assert sentence in status["sentence"]
    assert not status["listening"]
