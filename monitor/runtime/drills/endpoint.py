"""An endpoint of the drills: a web server on loopback that behaves as told."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Behaviour = Literal["takes", "fails", "hangs"]
"""It answers 200; it answers 500; it does not answer."""

_MOST_BYTES = 2**20
_HANG_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Accepted:
    """An alert that was taken."""

    id: str
    """The idempotency key."""

    kind: str
    event_id: str | None
    at: float
    """Monotonic seconds."""


class Endpoint:
    """Takes alerts.  Until `open` is called, connections are refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accepted: list[Accepted] = []
        self.behaviour: Behaviour = "takes"
        self.attempts = 0
        """Requests that came, whatever became of them."""

        self.is_closing = False
        self._server = _Server(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self._server.endpoint = self
        # Bound and not listening: the port is ours, and nobody answers.
        self._server.server_bind()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/drill"

    @property
    def accepted(self) -> list[Accepted]:
        """What was taken so far, in order.  Any thread."""
        with self._lock:
            return list(self._accepted)

    def open(self) -> None:
        """Let connections in."""
        self._server.server_activate()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="drill-endpoint"
        )
        self._thread.start()

    def close(self) -> None:
        """End; requests that hang are let go."""
        self.is_closing = True
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def take(self, alert_id: str, body: dict[str, Any]) -> None:
        """Take note of an alert.  A thread of the server's."""
        with self._lock:
            self._accepted.append(
                Accepted(
                    alert_id,
                    str(body.get("kind")),
                    body.get("event_id"),
                    time.monotonic(),
                )
            )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    endpoint: Endpoint


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        endpoint = self.server.endpoint
        length = min(int(self.headers.get("content-length", 0)), _MOST_BYTES)
        body = self.rfile.read(length)
        endpoint.attempts += 1
        behaviour = endpoint.behaviour
        while behaviour == "hangs" and not endpoint.is_closing:
            time.sleep(_HANG_POLL_SECONDS)
        if behaviour == "takes":
            endpoint.take(self.headers.get("webhook-id", ""), json.loads(body))
        with contextlib.suppress(OSError):
            self.send_response(200 if behaviour == "takes" else 500)
            self.send_header("content-length", "0")
            self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as above
        """Say nothing."""


@contextlib.contextmanager
def running_endpoint() -> Iterator[Endpoint]:
    """An endpoint that is there until the block ends; refuses until it is opened."""
    endpoint = Endpoint()
    try:
        yield endpoint
    finally:
        endpoint.close()
