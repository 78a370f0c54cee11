"""The heartbeat: a URL that is called while the monitor listens."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from monitor import __version__
from monitor.config.outputs import HeartbeatSettings
from monitor.sinks.alerts.secrets import read_url
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.statistics import Statistics
from monitor.text import redact, redact_url

logger = logging.getLogger(__name__)

# They log URLs, and with them secrets.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

LOOK_SECONDS = 0.1
RETRY_SECONDS = 30.0
"""Time from a failed call to the next."""

CLOSE_SECONDS = 0.1


class Heartbeat(Sink):
    """Calls a URL every few minutes while the monitor listens.

    A service at the URL notices when the calls stop: because the microphone is gone,
    the monitor hangs, the power is off or the network is down.
    """

    def __init__(
        self,
        settings: HeartbeatSettings,
        now: Callable[[], float],
        environ: Mapping[str, str],
    ) -> None:
        """Read the URL; nothing is called before the first `report`.

        Raises:
            ConfigError: The secret is missing or not a URL.
        """
        self._settings = settings
        self._url = read_url(settings.url, settings.url_secret, "heartbeat", environ)
        self._now = now
        self._thread = BackgroundThread("heartbeat", self._run)
        self._latest: tuple[float, Statistics] | None = None
        """Time and figures of the latest report; replaced as a whole."""

        self._call_began: float | None = None
        """Time of the call in progress, monotonic seconds."""

        self._socket: socket.socket | None = None
        self._failures = 0
        self._was_listening: bool | None = None
        """State at the latest check; None before it has listened."""

    @property
    def target(self) -> str:
        """The URL without its secrets."""
        return redact_url(self._url)

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics, and end a call that takes too long."""
        now, began = self._now(), self._call_began
        self._latest = now, statistics
        self._thread.keep_running()
        if began is not None and now - began > self._settings.timeout_seconds:
            # An answer that drips keeps within the time limits of single reads.
            self._abort_call()

    def close(self) -> None:
        """End without waiting for a call in progress."""
        self._abort_call()
        self._thread.finish(CLOSE_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        due = self._now()
        while not stop.wait(LOOK_SECONDS):
            now = self._now()
            if now >= due and self._is_listening(now):
                every = self._settings.every_seconds
                due = now + (every if self._call() else min(every, RETRY_SECONDS))

    def _is_listening(self, now: float) -> bool:
        """Check that enough sources are listened to; log a change."""
        if self._latest is None:
            return False
        reported, statistics = self._latest
        sources = statistics.listening(now - reported)
        enough = all if self._settings.sources == "all" else any
        is_listening = bool(sources) and enough(sources.values())
        if self._was_listening and not is_listening:
            missing = [name for name, listening in sources.items() if not listening]
            logger.warning("no heartbeat: not listening to %s", ", ".join(missing))
        elif self._was_listening is False and is_listening:
            logger.info("the heartbeat goes on: the monitor listens again")
        if is_listening or self._was_listening is not None:
            self._was_listening = is_listening
        return is_listening

    def _call(self) -> bool:
        """Call the URL; return whether it was successful."""
        self._call_began = self._now()
        try:
            problem = self._request()
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            text = redact(str(error), [self._url])
            problem = f"{type(error).__name__}: {text}"[:200]
        finally:
            self._call_began = self._socket = None
        if problem is not None:
            if not self._failures:
                logger.warning(
                    "the heartbeat did not reach %s: %s", self.target, problem
                )
            self._failures += 1
            return False
        if self._failures:
            logger.info(
                "%s accepts heartbeats again, after %d failed calls",
                self.target,
                self._failures,
            )
        self._failures = 0
        return True

    def _request(self) -> str | None:
        """Call the URL; return the problem of the answer."""
        timeout = self._settings.timeout_seconds
        with (
            httpx.Client(trust_env=False, timeout=timeout) as client,
            client.stream(
                self._settings.method,
                self._url,
                headers={"user-agent": f"sound-monitor/{__version__}"},
                extensions={"trace": self._follow_socket},
            ) as response,
        ):
            # The body is not read: it could be of any length.
            return None if response.is_success else f"HTTP {response.status_code}"

    def _follow_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the socket of the connection, to shut it down from another thread."""
        if event in (
            "connection.connect_tcp.complete",
            "connection.start_tls.complete",
        ):
            self._socket = info["return_value"].get_extra_info("socket")

    def _abort_call(self) -> None:
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
