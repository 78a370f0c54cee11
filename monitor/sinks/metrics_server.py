"""A small HTTP server that no client can keep from serving the others."""

import contextlib
import hmac
import http.server
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from time import monotonic
from typing import Any

logger = logging.getLogger(__name__)


MOST_CONNECTIONS = 16
MOST_HEAD_BYTES = 8_192
CONNECTION_SECONDS = 10.0
"""Longest time from the connection to the end of the answer."""

POLL_SECONDS = 0.25
PACE_SECONDS = 0.01
"""From one connection to the next: so many clients cannot take the processor, and each
has the time of 16 before it gives way."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent to a client."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[str], Answer]
"""Makes the answer, given the header Accept.  Called on threads of connections."""


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers GET and HEAD, one request for each connection, on threads of its own.

    The connections are limited in number, in bytes and in time.  If there are too many,
    the oldest gives way: an honest client needs a few milliseconds, one that holds its
    connection open has had more.
    """

    allow_reuse_address = True
    daemon_threads = True
    # Threads end when their sockets are shut; `close` need not wait for all of them.
    block_on_close = False
    request_queue_size = MOST_CONNECTIONS

    def __init__(
        self,
        address: tuple[str, int],
        pages: dict[str, Page],
        token: str | None,
    ) -> None:
        """Listen.

        Args:
            address: Host and port.
            pages: By path.
            token: Every request must bring it; None: none is needed.

        Raises:
            OSError: The address cannot be listened on.
        """
        self.pages = pages
        self.token = token
        self._lock = threading.Lock()
        self._has_failed = False
        self._deadlines: dict[socket.socket, float] = {}
        if ip_address(address[0]).version == 6:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; then shut every connection."""
        self.timeout = POLL_SECONDS
        try:
            while not stop.is_set():
                self.handle_request()
                stop.wait(PACE_SECONDS)
        finally:
            self._shut(lambda _deadline: True)
            self.server_close()

    def wake(self) -> None:
        """Let `run` look at its `stop` at once; nobody can connect any more."""
        _shut(self.socket)

    def service_actions(self) -> None:
        """Shut the connections whose time is over."""
        now = monotonic()
        self._shut(lambda deadline: deadline <= now)

    def handle_timeout(self) -> None:
        """Use the time in which nobody connects."""
        self.service_actions()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection."""
        self.service_actions()
        with self._lock:
            if len(self._deadlines) >= MOST_CONNECTIONS:
                _shut(min(self._deadlines, key=self._deadlines.__getitem__))
            self._deadlines[request] = monotonic() + CONNECTION_SECONDS
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Say the first time what is not the client's fault."""
        if not self._has_failed and not isinstance(sys.exception(), OSError):
            self._has_failed = True
            logger.exception("a request for metrics could not be answered")

    def _shut(self, is_due: Callable[[float], bool]) -> None:
        with self._lock:
            for connection, deadline in self._deadlines.items():
                if is_due(deadline):
                    _shut(connection)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    # Of the parts of an answer before the request is known.
    requestline = ""
    request_version = "HTTP/1.0"
    command = ""

    def version_string(self) -> str:
        return "sound-monitor"

    def setup(self) -> None:
        super().setup()
        self.rfile = _Head(self.rfile)  # type: ignore[assignment]  # reads lines only

    def handle(self) -> None:
        try:
            super().handle()
        except _TooLongError:
            self._send(_refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        except OSError:
            pass  # The client has gone, or its time was over.

    def do_GET(self) -> None:
        self._send(self._answer())

    def do_HEAD(self) -> None:
        self._send(self._answer())

    def send_error(self, code: int, *_: Any, **__: Any) -> None:
        self._send(_refusal(HTTPStatus(code)))

    def log_message(self, *_: Any) -> None:
        pass  # Who asks is no news.

    def _answer(self) -> Answer:
        if self.server.token is None:
            # A page of the web that a browser shows on this machine must not read
            # what is heard here, under a name of its own that it says is our address.
            if not _is_this_machine(self.headers.get("Host", "")):
                return _refusal(HTTPStatus.FORBIDDEN)
        elif not self._has_token(self.server.token):
            return _refusal(HTTPStatus.UNAUTHORIZED)
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        return page(self.headers.get("Accept", ""))

    def _has_token(self, token: str) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        # Compared as bytes, whatever the client sent; in a time that tells nothing.
        same = hmac.compare_digest(
            given.strip().encode("utf-8", "replace"), token.encode()
        )
        return same and scheme.lower() == "bearer"

    def _send(self, answer: Answer) -> None:
        self.close_connection = True
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


class _TooLongError(Exception):
    """A client sends a head without end."""


class _Head:
    """Lines of a request, up to a limit of all together."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = MOST_HEAD_BYTES

    def readline(self, _size: int = -1) -> bytes:
        line: bytes = self._file.readline(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise _TooLongError
        return line

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)


def _refusal(status: HTTPStatus) -> Answer:
    return Answer(status, f"{status.phrase}\n".encode())


def _is_this_machine(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") else host
    name = (name or host).strip("[]").lower()
    if name in ("", "localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _shut(connection: socket.socket) -> None:
    """Wake the thread of a connection: what it reads or writes ends."""
    with contextlib.suppress(OSError):  # It has ended by itself.
        connection.shutdown(socket.SHUT_RDWR)
