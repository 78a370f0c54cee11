"""Clients that ask nothing, too much, or read nothing cost the server little."""

import contextlib
import http.client
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import monitor.web.server
from monitor.errors import UsageError
from monitor.web.app import build_app
from monitor.web.security import MAX_HEADER_BYTES, MAX_TARGET_BYTES
from monitor.web.server import listen, reachable
from tests.support.web import make_context, serving

SECONDS = 10.0
MOST = 4


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that waits a second for a request, and has room for four clients."""
    monkeypatch.setattr(monitor.web.server, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(monitor.web.server, "MAX_CONNECTIONS", MOST)
    with serving(build_app(make_context(tmp_path))) as port:
        yield port


def get(port: int, path: str = "/system") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def is_cut_off(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
def test_a_request_that_does_not_come_is_not_waited_for(port: int, sent: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(sent)
        assert is_cut_off(connection)


@pytest.mark.parametrize(
    "before", [b"", b"GET /static/icon.svg HTTP/1.1\r\nHost: localhost"]
)
def test_a_request_may_not_come_byte_by_byte(port: int, before: bytes) -> None:
    with connect(port) as connection:
        if before:
            connection.sendall(before + b"\r\n\r\n")
            connection.recv(10_000)
        connection.settimeout(0.05)
        until = time.monotonic() + SECONDS
        is_open = True
        while is_open and time.monotonic() < until:
            try:
                connection.sendall(b"a")
                is_open = not is_cut_off(connection)
            except TimeoutError:
                continue
            except OSError:
                is_open = False
        assert not is_open


def test_many_idle_connections_make_room(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor.web.server, "HEADER_SECONDS", 2 * SECONDS)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(port)) for _ in range(MOST + 4)]
        assert get(port) == 200
        cut_off = 0
        while cut_off < 4:
            readable, _, _ = select.select(idle, [], [], SECONDS)
            assert readable
            assert all(map(is_cut_off, readable))
            cut_off += len(readable)
            idle = [each for each in idle if each not in readable]


@pytest.mark.parametrize("most", ["MAX_CONNECTIONS", "MAX_OF_CLIENT"])
def test_requests_whose_bodies_do_not_come_make_room(
    port: int, monkeypatch: pytest.MonkeyPatch, most: str
) -> None:
    monkeypatch.setattr(monitor.web.server, "MAX_CONNECTIONS", 100)
    monkeypatch.setattr(monitor.web.server, "is_loopback", lambda _: False)
    head = (
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
        b"Content-Length: 100\r\n\r\na"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(connect(port)).sendall(head)
        assert get(port) == 200  # they are being answered
        monkeypatch.setattr(monitor.web.server, most, MOST)
        assert [get(port) for _ in range(MOST)] == [200] * MOST


def test_a_client_has_few_connections_and_leaves_those_of_others(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor.web.server, "HEADER_SECONDS", 2 * SECONDS)
    monkeypatch.setattr(monitor.web.server, "MAX_CONNECTIONS", 100)
    monkeypatch.setattr(monitor.web.server, "MAX_OF_CLIENT", MOST)
    monkeypatch.setattr(monitor.web.server, "is_loopback", lambda _: False)
    with contextlib.ExitStack() as stack:
        other = socket.create_connection(
            ("127.0.0.1", port), SECONDS, source_address=("127.0.0.2", 0)
        )
        stack.enter_context(other)
        own = [stack.enter_context(connect(port)) for _ in range(MOST + 2)]
        assert all(map(is_cut_off, own[:2]))
        other.sendall(b"GET /static/icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 200")


def test_headers_have_a_longest_length(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nA: " + b"x" * MAX_HEADER_BYTES)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /system HTTP/1.1\r\nA: " + b"x" * MAX_HEADER_BYTES, 431),
        (b"GET /system HTTP/1.1" + b"\r\nA: x" * (MAX_HEADER_BYTES // 5), 431),
        (b"GET /events?label=" + b"x" * MAX_TARGET_BYTES + b" HTTP/1.1", 414),
        (b"GET http://localhost/system HTTP/1.1", 400),
        (b"POST /language HTTP/1.1\r\nOrigin: http://[", 403),
    ],
)
def test_whole_requests_have_a_longest_length_and_a_plain_answer(
    port: int, head: bytes, status: int
) -> None:
    with connect(port) as connection:
        connection.sendall(head + b"\r\nHost: localhost\r\n\r\n")
        answer = connection.recv(10_000)
    assert int(answer.split(b" ")[1]) == status
    assert answer.count(b"\r\ndate: ") == 1
    assert b"x-frame-options: DENY" in answer


@pytest.mark.parametrize(
    "request_text",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /static/..%2f..%2fapp.py HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /system HTTP/1.1\r\nHost: localhost\r\nCookie: \xff=;;\r\n\r\n",
    ],
)
def test_what_makes_no_sense_is_answered_without_a_detail(
    port: int, request_text: bytes
) -> None:
    with connect(port) as connection:
        connection.sendall(request_text)
        answer = connection.recv(100_000)
    status = int(answer.split(b" ")[1])
    assert status in (200, 303) if b"Cookie" in request_text else 400 <= status < 500
    assert b"Traceback" not in answer
    assert get(port) == 200


def test_an_address_that_is_taken_is_an_error(port: int) -> None:
    with pytest.raises(UsageError, match="cannot be listened at"):
        listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_of_every_network_is_named_as_others_reach_it(host: str) -> None:
    found = reachable(host)
    assert found != host
    with listen(host, 0) as listener, contextlib.suppress(socket.gaierror):
        address = found, listener.getsockname()[1]
        socket.create_connection(address, timeout=SECONDS).close()
    for chosen in ("127.0.0.1", "192.0.2.7", "::1"):
        assert reachable(chosen) == chosen


PAGE = """
import re, sys, time
from pathlib import Path
import monitor.web.server as server
from monitor.web.app import build_app
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.web import make_context

server.HANG_SECONDS = 1.0
app = build_app(make_context(Path(sys.argv[1])))

async def hang_loop(request):
    time.sleep(60)

async def hang_interpreter(request):
    re.match("(a+)+$", "a" * 40 + "b")

def hang_threads(request):
    time.sleep(60)

def slow(request):
    time.sleep(0.4)
    return PlainTextResponse("done")

for it in (hang_loop, hang_interpreter, hang_threads, slow):
    app.guard._app.router.routes.insert(0, Route("/" + it.__name__, it))
listener = server.listen("127.0.0.1", 0)
print(listener.getsockname()[1], flush=True)
server.serve(app, listener)
"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that serves a page, and ends if it hangs for a second."""
    command = [sys.executable, "-c", PAGE, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as page:
        yield page
        page.kill()


def begin(page: subprocess.Popen[str]) -> int:
    """Wait until it answers; return its port."""
    assert page.stdout is not None
    port = int(page.stdout.readline())
    assert get(port, "/login") in (200, 303)
    return port


@pytest.mark.parametrize(
    ("kind", "requests", "status"),
    [
        ("hang_loop", 1, 1),
        ("hang_threads", 45, 1),
        ("hang_interpreter", 1, -signal.SIGPROF),
    ],
)
def test_a_page_that_hangs_ends_so_that_it_is_started_again(
    page: subprocess.Popen[str], kind: str, requests: int, status: int
) -> None:
    port = begin(page)
    with contextlib.ExitStack() as stack:
        for _ in range(requests):
            client = stack.enter_context(connect(port))
            head = f"GET /{kind} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            client.sendall(head.encode())
        _, said = page.communicate(timeout=30)
    assert page.returncode == status
    assert kind in said, "the stack of what hangs"


def test_a_page_that_was_stopped_goes_on(page: subprocess.Popen[str]) -> None:
    port = begin(page)
    for _ in range(2):
        page.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        page.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        assert get(port, "/login") in (200, 303)


def test_a_page_with_more_requests_than_threads_goes_on(
    page: subprocess.Popen[str],
) -> None:
    port = begin(page)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in range(160)]
        for client in clients:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for client in clients:
            assert client.recv(100).startswith(b"HTTP/1.1 200")
