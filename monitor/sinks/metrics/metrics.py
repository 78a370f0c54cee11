"""The sink behind /healthz and /metrics."""

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from monitor.config.status import MetricsSettings
from monitor.records import Statistics, Timed
from monitor.sinks.alerts.secrets import read_one_line
from monitor.sinks.background import Background
from monitor.sinks.metrics.families import families
from monitor.sinks.metrics.server import Answer, Server
from monitor.sinks.status.vitals import Snapshot, Vitals

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
FRESH_SECONDS = 1.0
"""So long a snapshot serves all who ask: their number does not matter."""

LAST_SECONDS = 0.5


class Metrics:
    """Serves how the monitor is doing over HTTP, on threads of its own."""

    def __init__(
        self,
        settings: MetricsSettings,
        vitals: Vitals,
        now: Callable[[], float],
        environ: Mapping[str, str],
    ) -> None:
        """Read the token; nothing listens before the first `report`.

        Args:
            settings: Its section; it has an address.
            vitals: What there is to tell.
            now: Monotonic seconds.
            environ: Of the process, for secrets.

        Raises:
            ConfigError: The token is missing or of the wrong form.
        """
        self._settings = settings
        self._vitals = vitals
        self._token = (
            None
            if settings.token_secret is None
            else read_one_line(settings.token_secret, "metrics.token_secret", environ)
        )
        self._pages = _Pages(vitals, now)
        self._background = Background("metrics", self._run)
        self._server: Server | None = None
        self._is_failing = False

    def write(self, batch: Sequence[Timed]) -> None:
        """Do nothing: what records tell is in the statistics."""

    def report(self, statistics: Statistics) -> None:
        """Learn how the monitor is doing."""
        self._vitals.report(statistics)
        self._background.keep_running()

    def reopen(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.wake()
        self._background.finish(LAST_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        pages = {"/healthz": self._pages.healthz, "/metrics": self._pages.metrics}
        while not stop.is_set():
            try:
                self._server = Server(self._settings.address, pages, self._token)
            except OSError as error:
                self._complain(error)
                stop.wait(RETRY_SECONDS)
                continue
            logger.info(
                "metrics are served at http://%s/metrics", self._settings.listen
            )
            self._is_failing = False
            self._server.run(stop)

    def _complain(self, error: OSError) -> None:
        if not self._is_failing:
            logger.warning(
                "metrics.listen: %s cannot be listened on: %s; trying again",
                self._settings.listen,
                error.strerror,
            )
        self._is_failing = True


class _Pages(Collector):
    """Made at most once a second, however many ask.  Any thread."""

    def __init__(self, vitals: Vitals, now: Callable[[], float]) -> None:
        self._vitals = vitals
        self._now = now
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._lock = threading.Lock()
        self._taken = -math.inf
        self._snapshot: Snapshot
        self._texts: dict[str, bytes] = {}
        """Of the snapshot, by the type of their content."""

    def healthz(self, _accept: str) -> Answer:
        with self._lock:
            self._look()
            it = self._snapshot
        status = HTTPStatus.OK if it.is_listening else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(status, f"{it.sentence}\n".encode())

    def metrics(self, accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        with self._lock:
            self._look()
            text = self._texts.get(content_type)
            if text is None:
                text = self._texts[content_type] = encode(self._registry)
        return Answer(HTTPStatus.OK, text, content_type)

    def collect(self) -> Iterable[Metric]:
        """What is told.  Called by the encoder."""
        return families(self._snapshot)

    def _look(self) -> None:
        if self._now() - self._taken >= FRESH_SECONDS:
            self._snapshot, self._texts = self._vitals.snapshot(), {}
            self._taken = self._now()
