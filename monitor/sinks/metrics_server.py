"""A small HTTP server for health and metrics that slow clients cannot block."""

import contextlib
import hmac
import http.server
import logging
import math
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address
from time import monotonic
from typing import Any

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
CONNECTION_SECONDS = 10.0
"""Longest time from the connection to the end of the answer."""

POLL_SECONDS = 0.25

LIVENESS = "/livez"
"""Answered without a token, for watchdogs that can send none: it says nothing else."""

TEXT = "text/plain; charset=utf-8"

Page = tuple[HTTPStatus, bytes, str]
"""Status, body and type of the content."""


class MetricsServer(socketserver.ThreadingTCPServer):
    """Answers GET and HEAD, one request a connection, each on its own thread.

    Connections are limited in number and time.  If there are too many, the oldest is
    ended: an honest client needs a few milliseconds.
    """

    allow_reuse_address = True
    daemon_threads = True
    # Threads end when their sockets are shut down; nobody waits for them.
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS
    timeout = POLL_SECONDS

    def __init__(
        self,
        address: tuple[str, int],
        token: str | None,
        page: Callable[[str, str], Page | None],
    ) -> None:
        """Listen.

        Args:
            address: Host, as a number, and port.
            token: That every request but `LIVENESS` needs; None: none is needed.
            page: Makes a page from a path and the header Accept, on the thread of the
                connection; None: there is no such page.

        Raises:
            OSError: The address cannot be listened on.
        """
        self.token = token
        self.page = page
        self._lock = threading.Lock()
        # In the order in which they began.
        self._deadlines: dict[socket.socket, float] = {}
        self._has_failed = False
        self._stop = threading.Event()
        if ip_address(address[0]).version == 6:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; then end every connection."""
        self._stop = stop
        with self:
            while not stop.is_set():
                self.handle_request()
                self._end_connections(monotonic())
            self._end_connections(math.inf)

    def wake(self) -> None:
        """Make `run` look at `stop` at once; nobody can connect any more."""
        _shut_down(self.socket)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; pause when that is impossible, as without free files."""
        try:
            return super().get_request()
        except OSError:
            # It stays pending, and would be tried again at once, for ever.
            self._stop.wait(POLL_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection."""
        with self._lock:
            if len(self._deadlines) >= MAX_CONNECTIONS:
                oldest = next(iter(self._deadlines))
                del self._deadlines[oldest]
                _shut_down(oldest)
            self._deadlines[request] = monotonic() + CONNECTION_SECONDS
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Log the first fault that is not a client's."""
        if not self._has_failed and not isinstance(sys.exception(), OSError):
            self._has_failed = True
            logger.exception("a request for metrics could not be answered")

    def _end_connections(self, now: float) -> None:
        with self._lock:
            for connection, deadline in self._deadlines.items():
                if deadline <= now:
                    _shut_down(connection)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: MetricsServer

    def version_string(self) -> str:
        return "sound-monitor"

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone, or was ended
            super().handle()

    def do_GET(self) -> None:
        self._send(*self._answer())

    do_HEAD = do_GET  # noqa: N815 - the name is the library's

    def send_error(self, code: int, *_: Any, **__: Any) -> None:
        self._send(*_rejection(HTTPStatus(code)))

    def log_message(self, *_: Any) -> None:
        pass  # requests are not logged

    def _answer(self) -> Page:
        path, accept = self.path.partition("?")[0], self.headers.get("Accept", "")
        refusal = None if path == LIVENESS else self._refusal()
        return (
            refusal
            or self.server.page(path, accept)
            or _rejection(HTTPStatus.NOT_FOUND)
        )

    def _refusal(self) -> Page | None:
        if self.server.token is None:
            # A web page in a browser on this machine must not read the metrics through
            # a host name of its own that points to this address (DNS rebinding).
            if not _is_loopback(self.headers.get("Host", "")):
                return _rejection(HTTPStatus.FORBIDDEN)
        elif not self._has_token(self.server.token):
            return _rejection(HTTPStatus.UNAUTHORIZED)
        return None

    def _has_token(self, token: str) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        # Compared as bytes, whatever the client sent, and in constant time.
        same = hmac.compare_digest(
            given.strip().encode("utf-8", "replace"), token.encode()
        )
        return same and scheme.lower() == "bearer"

    def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _rejection(status: HTTPStatus) -> Page:
    return status, f"{status.phrase}\n".encode(), TEXT


def _is_loopback(host: str) -> bool:
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    name = name.strip("[]").lower()
    if name in ("", "localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _shut_down(connection: socket.socket) -> None:
    """Wake the thread of a connection: its read or write ends."""
    with contextlib.suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)
