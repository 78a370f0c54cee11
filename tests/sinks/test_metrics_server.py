"""The HTTP server, with clients that are honest, faulty, slow and hostile."""

import contextlib
import errno
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from monitor.sinks import metrics_server
from tests.support.broker import DEADLINE_SECONDS
from tests.support.status import TOKEN, FakeMonitor, MetricsClient, serving_metrics


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MetricsClient]:
    with serving_metrics(FakeMonitor(tmp_path)) as client:
        yield client


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end closes."""
    connection.settimeout(DEADLINE_SECONDS)
    with connection:
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
    return True


def is_closed_while_it_drips(connection: socket.socket) -> bool:
    """Whether the other end closes, though bytes go on coming."""
    connection.settimeout(0.05)
    deadline = monotonic() + DEADLINE_SECONDS
    with connection:
        while monotonic() < deadline:
            try:
                if connection.recv(1) == b"":
                    return True
            except TimeoutError:
                pass
            except OSError:
                return True
            with contextlib.suppress(OSError):
                connection.sendall(b"X")
    return False


def test_with_a_token_other_requests_are_rejected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving_metrics(FakeMonitor(tmp_path), TOKEN) as client:
        for path in ("/metrics", "/healthz", "/nothing"):
            status, body, headers = client.get(path)
            assert (status, body) == (401, "Unauthorized\n")
            assert headers["WWW-Authenticate"] == "Bearer"
        for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN):
            assert client.get("/metrics", Authorization=wrong)[0] == 401
        assert client.get("/metrics", Authorization="Bearer \xff\xfe")[0] == 401
        right = {"Authorization": f"bearer {TOKEN}", "Host": "sounds.example.org"}
        assert client.get("/metrics", **right)[0] == 200
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9110", 200),
        ("LOCALHOST", 200),
        ("127.0.0.2:1", 200),
        ("[::1]:9110", 200),
        ("evil.example.org:9110", 403),
        ("192.0.2.7", 403),
        ("[2001:db8::1]", 403),
        ("127.0.0.1.evil.example.org", 403),
    ],
)
def test_a_web_page_cannot_read_it_through_a_browser(
    client: MetricsClient, host: str, status: int
) -> None:
    assert client.get("/metrics", Host=host)[0] == status


def test_only_get_and_head_of_two_paths_are_answered(client: MetricsClient) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        assert client.get("/metrics", method)[0] == 501
    for path in ("/", "/metrics/", "/../etc/passwd", "*"):
        assert client.get(path)[0] == 404
    assert client.get("/healthz?x=1")[0] == 200
    status, body, headers = client.get("/healthz", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) == len("listening to street\n")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        b"x" * 100_000,
    ],
)
def test_a_head_without_end_is_rejected(client: MetricsClient, data: bytes) -> None:
    try:
        connection = client.send(data)
    except OSError:
        pass  # It hung up in the middle of it, which is as well.
    else:
        assert is_closed(connection)
    assert client.get("/healthz")[0] == 200


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00garbage\r\n", b"\r\n", b"\0\r\n"]
)
def test_bytes_that_are_no_request_do_not_stop_the_server(
    client: MetricsClient, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    connection = client.send(data)
    connection.shutdown(socket.SHUT_WR)
    assert is_closed(connection)
    assert client.get("/healthz")[0] == 200
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_clients_that_never_finish_do_not_block_others(
    client: MetricsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "CONNECTION_SECONDS", 3600)
    slow = [client.send(b"GET /metrics HTTP/1.1\r\nX-A: b") for _ in range(40)]
    assert client.get("/metrics")[0] == 200
    # The oldest were ended.
    open_still = 0
    for connection in slow:
        connection.setblocking(False)
        try:
            open_still += connection.recv(1) != b""
        except BlockingIOError:
            open_still += 1
        except ConnectionResetError:
            pass
        connection.close()
    assert open_still <= metrics_server.MAX_CONNECTIONS


def test_a_client_that_drips_is_ended_after_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "CONNECTION_SECONDS", 0.5)
    with serving_metrics(FakeMonitor(tmp_path)) as client:
        connection = client.send(b"GET /metrics HTTP/1.1\r\n")
        assert is_closed_while_it_drips(connection)


def test_it_ends_while_clients_are_connected(tmp_path: Path) -> None:
    with serving_metrics(FakeMonitor(tmp_path)) as client:
        connection = client.send(b"GET")
        client.get("/healthz")
    assert is_closed(connection)


def test_without_free_files_it_does_not_try_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that cannot be accepted would keep a processor busy."""
    pauses: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            self.set()
            return True

    def no_file(_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    server = metrics_server.MetricsServer(("127.0.0.1", 0), None, lambda *_: None)
    monkeypatch.setattr(socket.socket, "accept", no_file)
    with socket.create_connection(server.server_address):
        server.run(Stop())
    assert pauses == [metrics_server.POLL_SECONDS]
