"""The heartbeat: a URL that is called while the monitor truly listens."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from monitor import __version__
from monitor.config.hooks import check_url
from monitor.config.outputs import HeartbeatSettings
from monitor.errors import ConfigError
from monitor.sinks.alerts.secrets import read_one_line
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.statistics import Statistics
from monitor.text import redact, redact_url

logger = logging.getLogger(__name__)

# They log URLs, and with them secrets.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

LOOK_SECONDS = 0.1
RETRY_SECONDS = 30.0
"""After a call that failed the next one comes so soon."""

LAST_SECONDS = 0.1


class Heartbeat(Sink):
    """Calls a URL every few minutes, as long as sound comes in and is analysed.

    Who waits for the calls notices that the microphone is gone, that the monitor
    hangs, that the power is off or the network down: whatever it is, they stay out.
    """

    def __init__(
        self,
        settings: HeartbeatSettings,
        now: Callable[[], float],
        environ: Mapping[str, str],
    ) -> None:
        """Read the URL; nothing is called before the first `report`.

        Args:
            settings: Its section; it has a URL.
            now: Monotonic seconds.
            environ: Of the process, for secrets.

        Raises:
            ConfigError: The secret is missing or no URL.
        """
        self._settings = settings
        self._url = _url(settings, environ)
        self._now = now
        self._latest: tuple[float, Statistics] | None = None
        """When the newest statistics came, and they; replaced as a whole."""

        self._background = BackgroundThread("heartbeat", self._run)
        self._began: float | None = None
        """When the call that is under way began."""

        self._socket: socket.socket | None = None
        self._failures = 0
        self._listened: bool | None = None
        """None: it has not begun to listen."""

    @property
    def target(self) -> str:
        """The URL without what may be secret."""
        return redact_url(self._url)

    def report(self, statistics: Statistics) -> None:
        """Learn how the monitor is doing."""
        now = self._now()
        self._latest = now, statistics
        self._background.keep_running()
        began = self._began
        if began is not None and now - began > self._settings.timeout_seconds:
            # An endpoint that drips keeps within the limits of single reads for ever.
            self._break_off()

    def close(self) -> None:
        """End; a call that is under way is not waited for."""
        self._break_off()
        self._background.finish(LAST_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        due = self._now()
        while not stop.wait(LOOK_SECONDS):
            now = self._now()
            if now >= due and self._listens(now):
                every = self._settings.every_seconds
                due = now + (every if self._call() else min(every, RETRY_SECONDS))

    def _listens(self, now: float) -> bool:
        """Whether the monitor listens; say so if that has changed."""
        if self._latest is None:
            return False
        reported, statistics = self._latest
        listening = statistics.listening(now - reported)
        enough = all if self._settings.sources == "all" else any
        listens = bool(listening) and enough(listening.values())
        if self._listened and not listens:
            missing = [name for name, is_heard in listening.items() if not is_heard]
            logger.warning("no heartbeat: not listening to %s", ", ".join(missing))
        elif self._listened is False and listens:
            logger.info("the heartbeat goes on: the monitor listens again")
        if listens or self._listened is not None:
            self._listened = listens
        return listens

    def _call(self) -> bool:
        """Call the URL; return whether it took the call."""
        self._began = self._now()
        try:
            problem = self._request()
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            text = redact(str(error), [self._url])
            problem = f"{type(error).__name__}: {text}"[:200]
        finally:
            self._began = self._socket = None
        if problem is None:
            if self._failures:
                logger.info(
                    "%s takes heartbeats again, after %d that failed",
                    self.target,
                    self._failures,
                )
            self._failures = 0
            return True
        if not self._failures:
            logger.warning("the heartbeat did not reach %s: %s", self.target, problem)
        self._failures += 1
        return False

    def _request(self) -> str | None:
        """Call the URL; return what is wrong with the answer."""
        with (
            httpx.Client(
                trust_env=False, timeout=self._settings.timeout_seconds
            ) as client,
            client.stream(
                self._settings.method,
                self._url,
                headers={"user-agent": f"sound-monitor/{__version__}"},
                extensions={"trace": self._follow_socket},
            ) as response,
        ):
            # The body is nobody's business, and could be of any length.
            return None if response.is_success else f"HTTP {response.status_code}"

    def _follow_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the socket of the connection, so that it can be shut down."""
        if event in (
            "connection.connect_tcp.complete",
            "connection.start_tls.complete",
        ):
            self._socket = info["return_value"].get_extra_info("socket")

    def _break_off(self) -> None:
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _url(settings: HeartbeatSettings, environ: Mapping[str, str]) -> str:
    if settings.url is not None:
        return settings.url
    assert settings.url_secret is not None, "there is one of them"
    key = "heartbeat.url_secret"
    url = read_one_line(settings.url_secret, key, environ)
    try:
        return check_url(url)
    except ValueError as error:
        raise ConfigError(f"{key}: {settings.url_secret}: {error}") from None
