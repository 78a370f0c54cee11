"""An HTTP endpoint on loopback that behaves as set: well, badly, or not at all."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

DEADLINE_SECONDS = 10.0


@dataclass
class Request:
    """A request of a client."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""

    body: bytes
    at: float
    """Monotonic seconds of its arrival."""


@dataclass
class Talk:
    """One request, and the connection to answer it on."""

    request: Request
    connection: socket.socket
    closing: threading.Event
    """Set when the test is over."""

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {v}" for name, v in headers.items()]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


Behaviour = Callable[[Talk], None]


def ok(talk: Talk) -> None:
    talk.answer(200)


def status(code: int, body: bytes = b"", **headers: str) -> Behaviour:
    return lambda talk: talk.answer(code, body, **headers)


def silent(talk: Talk) -> None:
    """Never answers."""
    talk.closing.wait(DEADLINE_SECONDS)


def dripping(data: bytes, seconds: float = 0.05) -> Behaviour:
    """Sends `data` and then for ever one byte at a time."""

    def behave(talk: Talk) -> None:
        talk.send(data)
        until = monotonic() + DEADLINE_SECONDS
        while monotonic() < until and not talk.closing.wait(seconds):
            talk.send(b"x")

    return behave


def closing_after(data: bytes) -> Behaviour:
    """Sends `data` and closes the connection."""

    def behave(talk: Talk) -> None:
        talk.send(data)
        talk.connection.shutdown(socket.SHUT_RDWR)

    return behave


@dataclass
class Endpoint:
    """A server whose next answers can be set; the last one stays."""

    behaviours: list[Behaviour] = field(default_factory=lambda: [ok])
    requests: list[Request] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    port: int = 0
    scheme: str = "http"
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/hook"

    def will(self, *behaviours: Behaviour) -> None:
        self.behaviours[:] = behaviours

    def wait_for(self, count: int, seconds: float = DEADLINE_SECONDS) -> list[Request]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, seconds)
            return list(self.requests)

    def serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while not self.closing.is_set():
                    request = _read_request(connection)
                    if request is None:
                        return
                    with self.arrived:
                        self.requests.append(request)
                        behave = self.behaviours[0]
                        if len(self.behaviours) > 1:
                            self.behaviours.pop(0)
                        self.arrived.notify_all()
                    behave(Talk(request, connection, self.closing))
            except OSError:
                return  # The client has gone, or the test is over.


@contextmanager
def running_endpoint(
    *behaviours: Behaviour, tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[Endpoint]:
    """Serve on loopback until the block ends."""
    endpoint = Endpoint(list(behaviours) or [ok])
    endpoint.scheme = "https" if tls else "http"
    listener = socket.create_server(("127.0.0.1", port))
    endpoint.port = listener.getsockname()[1]
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        try:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
                connections.append(connection)
            endpoint.serve(connection)
        except OSError:
            pass  # The handshake failed.
        finally:
            connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            threads.append(thread)
            connections.append(connection)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield endpoint
    finally:
        endpoint.closing.set()
        _shut(listener)
        for connection in connections:
            _shut(connection)
        for thread in (acceptor, *threads):
            thread.join(5)


def unused_port() -> int:
    """A port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        sock.close()


def _read_request(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65_536)
    return Request(first.split()[1], headers, body, monotonic())
