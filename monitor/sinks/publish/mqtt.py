"""Records over MQTT: QoS 1, and acknowledged only if a collector is subscribed."""

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence

from monitor.config.publish import PublishSettings
from monitor.sinks.mqtt.connection import BrokerConnection, BrokerError, Message
from monitor.sinks.publish.publisher import EncodedRecord, TransportError

OPEN_SECONDS = 10.0
SEND_SECONDS = 30.0

STEADY_SECONDS = 10.0
"""A connection that lasts for so long is none that another client takes over."""

SHORT_CONNECTIONS = 5
"""So many, one after the other, hardly have their reason in the network."""

logger = logging.getLogger(__name__)


class MqttTransport:
    """Publishes to PREFIX/MONITOR/records; see `Transport`.

    By MQTT 5, a broker says if it may not keep a record, or if nobody would get it:
    then it waits in the database.  A broker of MQTT 3.1.1 says neither.
    """

    def __init__(
        self, settings: PublishSettings, monitor: str, environ: Mapping[str, str]
    ) -> None:
        """Read secrets and certificates; connect to nothing.

        Raises:
            ConfigError: A secret or a file is missing or of the wrong form.
        """
        client_id = f"{settings.prefix}-{monitor}"
        self._connection = BrokerConnection(
            settings.mqtt, "publish", environ, client_id=client_id
        )
        self._opened_at, self._short = -math.inf, 0
        self._records = f"{settings.prefix}/{monitor}/records"
        self._wanted = f"{settings.prefix}/{monitor}/wanted"

    @property
    def target(self) -> str:
        """The broker and the topic."""
        return f"{self._connection.target}/{self._records}"

    @property
    def is_connected(self) -> bool:
        """False before `open`, and when the connection is lost."""
        return self._connection.is_connected

    def open(self) -> None:
        """Connect and subscribe."""
        self._note_loss()
        try:
            self._connection.open(OPEN_SECONDS)
        except BrokerError as error:
            raise TransportError(str(error)) from None
        self._opened_at = time.monotonic()
        self._connection.subscribe(self._wanted)

    def _note_loss(self) -> None:
        """Say so if the connection is lost soon, again and again."""
        if time.monotonic() - self._opened_at >= STEADY_SECONDS:
            self._short = 0
        elif self._connection.problem:
            self._short += 1
        if self._short == SHORT_CONNECTIONS:
            logger.warning(
                "%s accepts each connection and soon closes it: perhaps another client "
                "with the id %s is connected; each monitor needs its own "
                "`publish.monitor`",
                self._connection.target,
                self._connection.client_id,
            )

    def send(self, messages: Sequence[EncodedRecord]) -> list[int]:
        """Send messages, and wait until the broker has acknowledged all."""
        connection = self._connection
        too_large = [
            index
            for index, each in enumerate(messages)
            if not connection.publish([Message(self._records, each.payload)])
        ]
        try:
            connection.wait_acknowledged(SEND_SECONDS)
        except BrokerError as error:
            raise TransportError(str(error)) from None
        if not connection.has_subscribers:
            raise TransportError("no collector subscribes to this broker")
        return too_large

    def take_wanted(self) -> list[bytes]:
        """Return the requests of collectors; what is retained is an old one."""
        received = self._connection.take_received()
        return [str(it.payload).encode() for it in received if not it.retain]

    def wait(self, wakeup: threading.Event, seconds: float) -> None:
        """Wait: the connection has a thread of its own."""
        wakeup.wait(seconds)

    def cancel(self) -> None:
        """End what another thread waits for.  Any thread."""
        self._connection.cancel()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
