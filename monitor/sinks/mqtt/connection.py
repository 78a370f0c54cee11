"""A connection to an MQTT broker, on paho's own thread."""

import contextlib
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from monitor.config.outputs import BrokerSettings
from monitor.sinks.alerts.secrets import read_secret, tls_context
from monitor.sinks.mqtt.topics import is_topic

CONNECT_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 30
"""The broker publishes the last will after one and a half of it."""

MAX_RECONNECT_SECONDS = 60

MAX_RECEIVED = 10_000
"""Bound on the messages that are kept, whatever the broker sends."""


class BrokerError(Exception):
    """The broker cannot be reached, refuses, or has gone; a retry may help."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message, which is published with QoS 1."""

    topic: str
    payload: str | bytes
    retain: bool = False


class BrokerConnection:
    """One connection at a time to one broker; used by one thread, except for `cancel`.

    `open` connects once; `start` connects in the background, again and again.
    """

    is_connected = False
    connections = 0
    """Number of connections that the broker accepted since `start`."""

    problem = ""
    """Reason for no connection; empty before the first attempt has failed."""

    def __init__(
        self,
        settings: BrokerSettings,
        place: str,
        environ: Mapping[str, str],
        *,
        client_id: str = "",
    ) -> None:
        """Read secrets and certificates; connect to nothing.

        Args:
            settings: Settings of the broker.
            place: Key path of the section, for messages.
            environ: Environment variables of the process, for secrets.
            client_id: A new connection with the same one replaces the old one at the
                broker; empty: each has its own.

        Raises:
            ConfigError: A secret or a file is missing or of the wrong form.
        """
        self._settings = settings
        self._password = (
            None
            if settings.password is None
            else read_secret(settings.password, f"{place}.password", environ)
        )
        self._tls = tls_context(settings.ca_file, place) if settings.tls else None
        self.client_id = client_id
        self._client: paho.Client | None = None
        self._changed = threading.Condition()
        self._published = self._acknowledged = 0
        self._received: dict[str, str] = {}
        self._filters: Sequence[str] = ()
        """Subscribed to with each connection in the background."""

    @property
    def target(self) -> str:
        """Scheme, host and port of the broker."""
        host, port = self._settings.place
        return f"{'mqtts' if self._settings.tls else 'mqtt'}://{host}:{port}"

    @property
    def unacknowledged(self) -> int:
        """Number of messages without an acknowledgement.

        With `start`, those of a lost connection are sent again over the next one.
        """
        return self._published - self._acknowledged

    def open(self, seconds: float) -> None:
        """Connect, and wait up to `seconds` until the broker accepts.

        Raises:
            BrokerError: It did not.
        """
        client = self._new_client(reconnects=False, will=None)
        client.connect_timeout = min(seconds, CONNECT_SECONDS)
        try:
            client.connect(*self._settings.place, keepalive=KEEP_ALIVE_SECONDS)
        except OSError as error:
            raise BrokerError(self._explain(error)) from None
        client.loop_start()
        self._wait_for(lambda: self.is_connected, seconds, "did not accept in time")

    def start(self, will: Message, filters: Sequence[str] = ()) -> None:
        """Connect in the background, and again when the connection is lost.

        The broker publishes `will` if the connection breaks.  Messages that match
        `filters` wait for `take_received`, but for what the broker has retained.
        """
        client = self._new_client(reconnects=True, will=will)
        self._filters = filters
        client.reconnect_delay_set(1, MAX_RECONNECT_SECONDS)
        client.connect_async(*self._settings.place, keepalive=KEEP_ALIVE_SECONDS)
        client.loop_start()

    def publish(self, messages: Iterable[Message]) -> None:
        """Send messages; `wait_acknowledged` waits until the broker has them."""
        assert self._client is not None, "publish before open"
        for each in messages:
            if not is_topic(each.topic):
                continue  # a stranger's; ours are checked where they are configured
            self._published += 1
            self._client.publish(each.topic, each.payload, qos=1, retain=each.retain)

    def subscribe(self, *filters: str) -> None:
        """Ask for messages, which `wait_received` returns."""
        assert self._client is not None, "subscribe before open"
        self._client.subscribe([(each, 1) for each in filters])

    def take_received(self) -> dict[str, str]:
        """Return the newest payload of each topic since the last call."""
        with self._changed:
            received, self._received = self._received, {}
        return received

    def wait_received(
        self, is_enough: Callable[[Mapping[str, str]], bool], seconds: float
    ) -> Mapping[str, str]:
        """Return the newest payload of each topic, once enough or `seconds` passed.

        Raises:
            BrokerError: The connection is lost.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self.problem or is_enough(self._received), seconds
            )
            if self.problem:
                raise BrokerError(self.problem)
            return dict(self._received)

    def wait_acknowledged(self, seconds: float) -> None:
        """Wait until the broker has acknowledged everything.

        Raises:
            BrokerError: The connection is lost, or it takes longer than `seconds`.
        """
        failure = "did not acknowledge in time"
        self._wait_for(lambda: not self.unacknowledged, seconds, failure)

    def cancel(self) -> None:
        """End the waiting of another thread.  Any thread."""
        self._fail(f"{self.target}: cancelled")

    def close(self) -> None:
        """Disconnect, so that the broker does not publish the will."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _wait_for(
        self, is_done: Callable[[], bool], seconds: float, failure: str
    ) -> None:
        with self._changed:
            self._changed.wait_for(lambda: is_done() or self.problem, seconds)
            if not is_done():
                raise BrokerError(self.problem or f"{self.target} {failure}")

    def _new_client(self, *, reconnects: bool, will: Message | None) -> paho.Client:
        self.close()
        self.connections = self._published = self._acknowledged = 0
        self.is_connected, self.problem, self._received = False, "", {}
        self._filters = ()
        version = CallbackAPIVersion.VERSION2
        client = paho.Client(version, self.client_id, reconnect_on_failure=reconnects)
        if self._settings.username is not None:
            client.username_pw_set(self._settings.username, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        # These are called on paho's thread.
        client.on_connect = lambda *facts: self._take_answer(facts[3])
        client.on_connect_fail = lambda *_: self._fail(self._explain(sys.exception()))
        client.on_disconnect = lambda *_: self._lose()
        client.on_publish = lambda *_: self._acknowledge()
        client.on_message = lambda *facts: self._receive(facts[2])
        self._client = client
        return client

    def _take_answer(self, code: ReasonCode) -> None:
        if code.is_failure:
            self._fail(f"{self.target} refuses: {code}")
            return
        if self._filters:
            self.subscribe(*self._filters)
        with self._changed:
            self.is_connected, self.problem = True, ""
            self.connections += 1
            self._changed.notify_all()

    def _lose(self) -> None:
        if self.is_connected:
            self._fail(f"{self.target}: the connection was lost")
        elif not self.problem:  # else the reason is known
            self._fail(f"{self.target} did not accept the connection")

    def _fail(self, problem: str) -> None:
        with self._changed:
            self.is_connected, self.problem = False, problem
            self._changed.notify_all()

    def _receive(self, message: paho.MQTTMessage) -> None:
        if self._filters and message.retain:
            return  # an old request
        # A topic that is not UTF-8 cannot be one of ours.
        with self._changed, contextlib.suppress(UnicodeDecodeError):
            if len(self._received) < MAX_RECEIVED:
                text = message.payload[:1000].decode(errors="replace")
                self._received[message.topic] = text
                self._changed.notify_all()

    def _acknowledge(self) -> None:
        with self._changed:
            self._acknowledged += 1
            self._changed.notify_all()

    def _explain(self, error: BaseException | None) -> str:
        kind = "TLS connection" if isinstance(error, ssl.SSLError) else "connection"
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = error.verify_message
        elif isinstance(error, TimeoutError):
            reason = "no answer in time"
        return f"no {kind} to {self.target}: {reason}"
