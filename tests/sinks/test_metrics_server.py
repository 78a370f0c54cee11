"""The HTTP server, and clients that are curious, clumsy, slow or hostile."""

import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from monitor.sinks import metrics_server as server_module
from tests.support.site import TOKEN, Site, serving
from tests.support.vitals import Patient


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(Patient(tmp_path)) as site:
        yield site


def ended(connection: socket.socket) -> bool:
    """Whether the other end has closed, within ten seconds."""
    connection.settimeout(10)
    with connection:
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
    return True


def is_ended_while_it_drips(connection: socket.socket) -> bool:
    """Whether the other end closes within ten seconds, though bytes go on coming."""
    connection.settimeout(0.05)
    deadline = monotonic() + 10
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


def test_with_a_token_nobody_else_is_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Patient(tmp_path), TOKEN) as site:
        for path in ("/metrics", "/healthz", "/nothing"):
            status, body, headers = site.ask(path)
            assert (status, body) == (401, "Unauthorized\n")
            assert headers["WWW-Authenticate"] == "Bearer"
        for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN):
            assert site.ask("/metrics", Authorization=wrong)[0] == 401
        assert site.ask("/metrics", Authorization="Bearer \xff\xfe")[0] == 401
        right = {"Authorization": f"bearer {TOKEN}", "Host": "sounds.example.org"}
        assert site.ask("/metrics", **right)[0] == 200
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
def test_a_page_of_the_web_cannot_read_it_through_a_browser(
    site: Site, host: str, status: int
) -> None:
    assert site.ask("/metrics", Host=host)[0] == status


def test_only_get_and_head_of_two_paths_are_answered(site: Site) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        assert site.ask("/metrics", method)[0] == 501
    for path in ("/", "/metrics/", "/../etc/passwd", "*"):
        assert site.ask(path)[0] == 404
    assert site.ask("/healthz?x=1")[0] == 200
    status, body, headers = site.ask("/healthz", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) == len("listening to street\n")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        b"x" * 100_000,
    ],
)
def test_a_head_without_end_is_refused(site: Site, data: bytes) -> None:
    try:
        connection = site.knock(data)
    except OSError:
        pass  # It hung up in the middle of it, which is as well.
    else:
        assert ended(connection)
    assert site.ask("/healthz")[0] == 200


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00garbage\r\n", b"\r\n", b"\0\r\n"]
)
def test_what_is_no_request_harms_nobody(
    site: Site, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    connection = site.knock(data)
    connection.shutdown(socket.SHUT_WR)
    assert ended(connection)
    assert site.ask("/healthz")[0] == 200
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_clients_that_never_finish_do_not_keep_others_waiting(site: Site) -> None:
    slow = [site.knock(b"GET /metrics HTTP/1.1\r\nX-A: b") for _ in range(40)]
    began = monotonic()
    assert site.ask("/metrics")[0] == 200
    assert monotonic() - began < 5
    # As many as may be there are left; the oldest gave way.
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
    assert open_still <= server_module.MOST_CONNECTIONS


def test_a_client_that_drips_is_ended_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CONNECTION_SECONDS", 0.5)
    with serving(Patient(tmp_path)) as site:
        connection = site.knock(b"GET /metrics HTTP/1.1\r\n")
        assert is_ended_while_it_drips(connection)


def test_clients_that_are_connected_do_not_keep_it_from_ending(tmp_path: Path) -> None:
    with serving(Patient(tmp_path)) as site:
        connection = site.knock(b"GET")
        site.ask("/healthz")
    assert ended(connection)
