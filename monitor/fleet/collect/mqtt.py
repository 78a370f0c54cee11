"""The records of monitors from an MQTT 5 broker, by a shared subscription."""

import logging
import queue
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from monitor.config.publish import FleetBroker
from monitor.fleet.collect.database import Arrival
from monitor.fleet.collect.subscription import monitor_of_topic, option_of
from monitor.sinks.alerts.secrets import read_secret
from monitor.sinks.publish.record import LARGEST_BYTES
from monitor.tls import no_connection, tls_context

MOST_IN_FLIGHT = 1000
"""Messages that the broker sends before the first of them is acknowledged."""

SESSION_SECONDS = 10
"""The broker keeps a share of the messages for a collector that has lost its connection
so long; they are lost if it does not come back, and asked for."""

KEEP_ALIVE_SECONDS = 30
MAX_RECONNECT_SECONDS = 30

IDLE_SECONDS = 0.02
"""A batch is complete if nothing comes for so long."""

logger = logging.getLogger(__name__)

_GROUP = "collect"


class MqttSubscription:
    """A member of the group of collectors; paho's thread receives."""

    def __init__(self, broker: FleetBroker, environ: Mapping[str, str]) -> None:
        """Begin to connect."""
        self._broker = broker
        self._topics = f"$share/{_GROUP}/{broker.prefix}/+/records"
        self._arrived: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._connections = 0
        """Acknowledgements of an earlier connection mean nothing to the next."""

        self.is_connected = False
        self._has_failed = False
        self._client = self._new_client(environ)
        self._client.connect_async(
            *broker.place, keepalive=KEEP_ALIVE_SECONDS, properties=_properties()
        )
        self._client.loop_start()

    def receive(self, most: int, seconds: float) -> list[Arrival]:
        """See `Subscription`."""
        arrivals: list[Arrival] = []
        until = time.monotonic() + seconds
        wait = seconds
        while len(arrivals) < most and wait > 0:
            try:
                arrivals.append(self._arrived.get(timeout=wait))
            except queue.Empty:
                break
            wait = min(IDLE_SECONDS, until - time.monotonic())
        return arrivals

    def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        """See `Subscription`."""
        for arrival in arrivals:
            connection, packet, qos = arrival.token
            if connection == self._connections:
                self._client.ack(packet, qos)

    def send_wanted(self, monitor: str, payload: bytes) -> None:
        """See `Subscription`."""
        self._client.publish(f"{self._broker.prefix}/{monitor}/wanted", payload, qos=1)

    def close(self) -> None:
        """See `Subscription`."""
        # Without this, the broker would keep the group's messages for nobody.
        leaving = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        leaving.SessionExpiryInterval = 0
        self._client.disconnect(properties=leaving)
        self._client.loop_stop()

    def _new_client(self, environ: Mapping[str, str]) -> paho.Client:
        broker = self._broker
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            f"collect-{secrets.token_hex(8)}",
            protocol=paho.MQTTv5,
            manual_ack=True,
        )
        client.reconnect_delay_set(1, MAX_RECONNECT_SECONDS)
        if broker.username is not None:
            password = broker.password and read_secret(
                broker.password, option_of("password"), environ
            )
            client.username_pw_set(broker.username, password)
        if broker.has_tls:
            client.tls_set_context(tls_context(broker.ca_file, option_of("ca_file")))
        # These are called on paho's thread.
        client.on_connect = lambda *facts: self._take_answer(facts[3])
        client.on_connect_fail = lambda *_: self._warn(
            no_connection(broker.target, sys.exception())
        )
        client.on_disconnect = lambda *facts: self._lose(*facts[2:4])
        client.on_subscribe = lambda *facts: self._take_subscription(facts[3])
        client.on_message = lambda *facts: self._receive(facts[2])
        return client

    def _take_answer(self, code: ReasonCode) -> None:
        if code.is_failure:
            self._warn(f"{self._broker.target} refuses: {code}")
            return
        self._connections += 1
        self._client.subscribe(self._topics, qos=1)

    def _take_subscription(self, codes: Sequence[ReasonCode]) -> None:
        if any(code.is_failure for code in codes):
            self._warn(
                f"{self._broker.target} does not let this user subscribe to "
                f"{self._topics}"
            )
        else:
            again = " again" if self._has_failed else ""
            logger.info("records are collected from %s%s", self._broker.target, again)
            self._has_failed, self.is_connected = False, True

    def _lose(self, flags: paho.DisconnectFlags, code: ReasonCode) -> None:
        self.is_connected = False
        if code.is_failure:
            reason = f": {code}" if flags.is_disconnect_packet_from_server else ""
            self._warn(f"{self._broker.target}: the connection was lost{reason}")

    def _warn(self, problem: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            logger.warning("%s; trying again", problem)

    def _receive(self, message: paho.MQTTMessage) -> None:
        try:
            monitor = monitor_of_topic(message.topic.split("/")[1])
        except UnicodeDecodeError:
            monitor = ""
        payload = bytes(message.payload)
        if len(payload) > LARGEST_BYTES:
            # It is refused for its length, and need not lie in memory until then.
            payload = payload[: LARGEST_BYTES + 1]
        token = self._connections, message.mid, message.qos
        self._arrived.put(Arrival(monitor, payload, datetime.now(UTC), token))


def _properties() -> Any:
    """Properties of the first packet."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_SECONDS
    properties.ReceiveMaximum = MOST_IN_FLIGHT
    return properties
