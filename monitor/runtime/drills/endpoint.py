"""The alert endpoint of the drills: a web server on loopback that can misbehave."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Behaviour = Literal["accepts", "fails", "hangs"]
"""Answer 200, answer 500, or do not answer."""

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Accepted:
    """An alert that was accepted."""

    id: str
    """The idempotency key."""

    kind: str
    event_id: str | None
    at: float
    """Monotonic seconds."""


class Endpoint(ThreadingHTTPServer):
    """Accepts alerts.  Until `open` is called, connections are refused."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self.behaviour: Behaviour = "accepts"
        self.attempts = 0
        """Requests that came, whatever the answer."""

        self.accepted: list[Accepted] = []
        """Requests in order; appended by the server's threads."""

        self.is_closing = False
        # Bound but not listening: the port is taken, and connections are refused.
        self.server_bind()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/drill"
        self._thread: threading.Thread | None = None

    @property
    def ids(self) -> list[str]:
        """Keys of the accepted alerts, in order."""
        return [each.id for each in self.accepted]

    @property
    def twice(self) -> int:
        """Number of alerts that were accepted again."""
        return len(self.ids) - len(set(self.ids))

    def open(self) -> None:
        """Accept connections."""
        self.server_activate()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="drill-endpoint"
        )
        self._thread.start()

    def close(self) -> None:
        """End; hanging requests are dropped."""
        self.is_closing = True
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        endpoint = self.server
        assert isinstance(endpoint, Endpoint)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        endpoint.attempts += 1
        behaviour = endpoint.behaviour
        while behaviour == "hangs" and not endpoint.is_closing:
            time.sleep(_POLL_SECONDS)
        if behaviour == "accepts":
            alert_id = self.headers.get("webhook-id", "")
            kind, event_id = str(body.get("kind")), body.get("event_id")
            now = time.monotonic()
            endpoint.accepted.append(Accepted(alert_id, kind, event_id, now))
        with contextlib.suppress(OSError):
            self.send_response(200 if behaviour == "accepts" else 500)
            self.send_header("content-length", "0")
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextlib.contextmanager
def running_endpoint() -> Iterator[Endpoint]:
    """Bind an endpoint for the block; it refuses connections until it is opened."""
    endpoint = Endpoint()
    try:
        yield endpoint
    finally:
        endpoint.close()
