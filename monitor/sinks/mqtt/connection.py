"""A connection to an MQTT broker, on paho's own thread."""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from monitor.config.outputs import BrokerSettings
from monitor.sinks.alerts.secrets import read_secret
from monitor.sinks.mqtt.limits import SentLimit, WaitingLimit
from monitor.tls import no_connection, tls_context

CONNECT_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 30
"""The broker publishes the last will after one and a half of it."""

MAX_RECONNECT_SECONDS = 60

MAX_PACKET_BYTES = 2**17
"""A broker of MQTT 5 leaves out larger ones, from whoever may publish on it."""

MAX_IN_FLIGHT = 20
"""Messages that are sent before the first of them is acknowledged."""

UNSUPPORTED = "Unsupported protocol version"


class BrokerError(Exception):
    """The broker cannot be reached, refuses, or has gone; a retry may help."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message."""

    topic: str
    payload: str | bytes
    retain: bool = False
    qos: int = 1
    """1: sent until the broker acknowledges it; 0: sent once, if there is one."""


class BrokerConnection:
    """One connection at a time to one broker; used by one thread, except for `cancel`.

    It speaks MQTT 5, and 3.1.1 with a broker that does not.  `open` connects once;
    `start` connects in the background, again and again.
    """

    is_connected = False
    connections = 0
    """Number of connections that the broker accepted since `start`."""

    problem = ""
    """Reason for no connection; empty before the first attempt has failed."""

    has_subscribers = True
    """False once nobody subscribes to a message of QoS 1 since `open`, by MQTT 5."""

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
        self._tls = (
            tls_context(settings.ca_file, f"{place}.ca_file") if settings.tls else None
        )
        self.client_id = client_id
        self._client: paho.Client | None = None
        self._changed = threading.Condition()
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._limit = SentLimit(settings.target)
        self._in_flight = MAX_IN_FLIGHT
        """Number of messages that it takes at a time, for the next client."""

        self._refusal = ""
        self._published = self._acknowledged = 0
        self._sent_once: set[int] = set()
        """Ids of the packets of QoS 0 that are not written yet."""

        self._received: list[Message] = []
        self._waiting_limit = WaitingLimit()
        self._filters: Sequence[str] = ()
        """Subscribed to with each connection in the background."""

        self._replies: Mapping[str, Message] = {}
        self._take: Callable[[Message], None] | None = None
        self._will: Message | None = None

    @property
    def target(self) -> str:
        """Scheme, host and port of the broker."""
        return self._settings.target

    @property
    def unacknowledged(self) -> int:
        """Number of messages of QoS 1 without an acknowledgement.

        With `start`, those of a lost connection are sent again over the next one.
        """
        return self._published - self._acknowledged

    def open(self, seconds: float) -> None:
        """Connect, and wait up to `seconds` until the broker accepts.

        Raises:
            BrokerError: It did not.
        """
        try:
            self._open(seconds)
        except BrokerError as error:
            if UNSUPPORTED not in str(error):
                raise
            self._open(seconds)

    def _open(self, seconds: float) -> None:
        client = self._new_client(reconnects=False, will=None)
        client.connect_timeout = min(seconds, CONNECT_SECONDS)
        try:
            client.connect(*self._settings.place, **self._options())
        except OSError as error:
            raise BrokerError(no_connection(self.target, error)) from None
        client.loop_start()
        self._wait_for(lambda: self.is_connected, seconds, "did not accept in time")

    def start(
        self,
        will: Message,
        filters: Sequence[str] = (),
        replies: Mapping[str, Message] | None = None,
        take: Callable[[Message], None] | None = None,
    ) -> None:
        """Connect in the background, and again when the connection is lost.

        The broker publishes `will` if the connection breaks.  Messages that match
        `filters` go to `take`, on a thread of the connection; one at a topic of
        `replies` is answered at once, with QoS 0.  What the broker has retained counts
        for neither.
        """
        client = self._new_client(reconnects=True, will=will)
        self._replies, self._take = replies or {}, take
        self._filters = (*filters, *self._replies)
        client.reconnect_delay_set(1, MAX_RECONNECT_SECONDS)
        client.connect_async(*self._settings.place, **self._options())
        client.loop_start()

    def publish(self, messages: Iterable[Message]) -> bool:
        """Send messages; `wait_acknowledged` waits until the broker has them.

        Returns:
            Whether the broker takes all of them.  One of an invalid topic or that is
            too large is left out: the broker would end the connection.
        """
        assert self._client is not None, "publish before open"
        takes_all = True
        for each in messages:
            if not self._limit.takes(each.topic, each.payload):
                takes_all = False
            elif each.qos == 0:
                self._send_once(self._client, each)
            else:
                self._published += 1
                self._client.publish(
                    each.topic, each.payload, qos=1, retain=each.retain
                )
        return takes_all

    def _send_once(self, client: paho.Client, message: Message) -> None:
        with self._changed:
            sent = client.publish(message.topic, message.payload, qos=0)
            if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._sent_once.add(sent.mid)

    def subscribe(self, *filters: str) -> None:
        """Ask for messages, which `wait_received` returns."""
        assert self._client is not None, "subscribe before open"
        # With QoS 1, mosquitto 2.0 keeps the place of what is too large for us, and
        # sends nothing any more after 20 of them.
        self._client.subscribe([(each, 0) for each in filters])

    def take_received(self) -> list[Message]:
        """Return the messages since the last call, in the order of their arrival."""
        with self._changed:
            received, self._received = self._received, []
            self._waiting_limit = WaitingLimit()
        return received

    def wait_received(
        self, is_enough: Callable[[Message], bool] | None, seconds: float
    ) -> list[Message]:
        """Return the messages so far, after `seconds` or once one of them is enough.

        Raises:
            BrokerError: The connection is lost.
        """
        end = time.monotonic() + seconds
        seen = 0
        with self._changed:
            while not self.problem:
                new, seen = self._received[seen:], len(self._received)
                left = end - time.monotonic()
                if left <= 0 or (is_enough and any(map(is_enough, new))):
                    return list(self._received)
                self._changed.wait(left)
            raise BrokerError(self.problem)

    def wait_acknowledged(self, seconds: float) -> None:
        """Wait until the broker has acknowledged everything.

        Raises:
            BrokerError: The connection is lost, it takes longer than `seconds`, or the
                broker refuses a message, as MQTT 5 has it.
        """
        failure = "did not acknowledge in time"
        self._wait_for(lambda: not self.unacknowledged, seconds, failure)
        if self._refusal:
            raise BrokerError(f"{self.target} refuses a message: {self._refusal}")

    def cancel(self) -> None:
        """End the waiting of another thread.  Any thread."""
        self._fail(f"{self.target}: cancelled")

    def leave(self) -> None:
        """Publish the will, and disconnect for good; waits for nothing.  Any thread."""
        client, will = self._client, self._will
        if client is not None and will is not None:
            client.publish(will.topic, will.payload, qos=0, retain=will.retain)
            client.disconnect()

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
        self.is_connected, self.problem, self._will = False, "", will
        self._received, self._waiting_limit = [], WaitingLimit()
        self._filters, self._replies, self._take = (), {}, None
        self._refusal, self.has_subscribers = "", True
        version = CallbackAPIVersion.VERSION2
        client = paho.Client(
            version,
            self.client_id,
            protocol=self._protocol,
            reconnect_on_failure=reconnects,
        )
        client.max_inflight_messages_set(self._in_flight)
        if self._settings.username is not None:
            client.username_pw_set(self._settings.username, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        # These are called on paho's thread.
        client.on_connect = lambda *facts: self._take_answer(*facts[3:])
        client.on_connect_fail = lambda *_: self._fail(
            no_connection(self.target, sys.exception())
        )
        client.on_disconnect = lambda *facts: self._lose(*facts[2:4])
        client.on_publish = lambda *facts: self._acknowledge(*facts[2:4])
        client.on_message = lambda *facts: self._receive(facts[0], facts[2])
        self._client = client
        return client

    def _options(self) -> dict[str, Any]:
        """Options of the first packet."""
        options: dict[str, Any] = {"keepalive": KEEP_ALIVE_SECONDS}
        if self._protocol is MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = MAX_PACKET_BYTES
            options |= {"clean_start": True, "properties": properties}
        return options

    def _take_answer(self, code: ReasonCode, properties: Properties | None) -> None:
        if code.is_failure:
            if code == UNSUPPORTED:
                self._change_protocol()
            self._fail(f"{self.target} refuses: {code}")
            return
        self._limit.most_bytes = getattr(properties, "MaximumPacketSize", math.inf)
        most = getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT)
        self._in_flight = min(most, MAX_IN_FLIGHT)
        if self._filters:
            self.subscribe(*self._filters)
        with self._changed:
            self.is_connected, self.problem = True, ""
            self.connections += 1
            self._sent_once.clear()
            self._changed.notify_all()

    def _change_protocol(self) -> None:
        """Speak the other version with the next client."""
        versions = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
        self._protocol = versions[self._protocol is versions[0]]

    def _lose(self, flags: paho.DisconnectFlags, code: ReasonCode) -> None:
        if self.is_connected:
            reason = f": {code}" if flags.is_disconnect_packet_from_server else ""
            self._fail(f"{self.target}: the connection was lost{reason}")
        elif not self.problem:  # else the reason is known
            self._change_protocol()  # a broker that does not know it may say nothing
            self._fail(f"{self.target} did not accept the connection")

    def _fail(self, problem: str) -> None:
        with self._changed:
            self.is_connected, self.problem = False, problem
            self._changed.notify_all()

    def _receive(self, client: paho.Client, message: paho.MQTTMessage) -> None:
        if self._filters and message.retain:
            return  # an old request
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # it cannot be one of ours
        if (reply := self._replies.get(topic)) is not None:
            self._send_once(client, reply)
            return
        text = message.payload[:1000].decode(errors="replace")
        if self._take is not None:
            self._take(Message(topic, text))
            return
        with self._changed:
            if self._waiting_limit.takes(topic, text, is_retained=message.retain):
                self._received.append(Message(topic, text, message.retain))
                self._changed.notify_all()

    def _acknowledge(self, packet: int, code: ReasonCode) -> None:
        with self._changed:
            if packet in self._sent_once:
                self._sent_once.remove(packet)
            else:
                self._acknowledged += 1
                self.has_subscribers &= code != "No matching subscribers"
                if code.is_failure:
                    self._refusal = str(code)
            self._changed.notify_all()
