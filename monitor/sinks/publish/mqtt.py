"""Records over MQTT: QoS 1, and acknowledged only if a collector is subscribed."""

import threading
from collections.abc import Mapping, Sequence

from monitor.config.publish import PublishSettings
from monitor.sinks.mqtt.connection import BrokerConnection, BrokerError, Message
from monitor.sinks.publish.publisher import Outgoing, TransportError

OPEN_SECONDS = 10.0
SEND_SECONDS = 30.0


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
        try:
            self._connection.open(OPEN_SECONDS)
        except BrokerError as error:
            raise TransportError(str(error)) from None
        self._connection.subscribe(self._wanted)

    def send(self, messages: Sequence[Outgoing]) -> list[int]:
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
