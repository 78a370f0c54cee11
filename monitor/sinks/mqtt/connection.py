"""A connection to an MQTT broker, driven by the thread that uses it."""

import contextlib
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from monitor.config.outputs import BrokerSettings
from monitor.sinks.alerts.secrets import read_secret, tls_context

CONNECT_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 30
"""The broker tells the last will after one and a half of it."""

POLL_SECONDS = 0.1


class BrokerError(Exception):
    """The broker cannot be reached, refuses, or has gone; trying again may help."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is published, with QoS 1."""

    topic: str
    payload: str
    retain: bool = False


class Connection:
    """One connection at a time to one broker, which can be opened again.

    Nothing of one connection is carried over to the next: who publishes knows best what
    is still worth it.  Used by one thread, except for `cancel`.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        place: str,
        environ: Mapping[str, str],
        *,
        client_id: str = "",
        will: Message | None = None,
    ) -> None:
        """Read secrets and certificates; connect to nothing.

        Args:
            settings: Of the broker.
            place: Key path of the section, for messages.
            environ: Of the process, for secrets.
            client_id: By which the broker knows whose connection it takes the place
                of; empty: none.
            will: What the broker publishes if the connection breaks.

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
        self._client_id = client_id
        self._will = will
        self._client: paho.Client | None = None
        self._answer: ReasonCode | None = None
        self._waiting: list[paho.MQTTMessageInfo] = []
        self._cancelled = False

    @property
    def target(self) -> str:
        """Host and port of the broker."""
        host, port = self._settings.place
        return f"{'mqtts' if self._settings.tls else 'mqtt'}://{host}:{port}"

    def open(self, seconds: float) -> None:
        """Connect, and wait up to `seconds` until the broker says yes.

        Raises:
            BrokerError: It did not.
        """
        self.close()
        self._answer = None
        self._cancelled = False
        until = time.monotonic() + seconds
        client = self._client = self._new_client(min(seconds, CONNECT_SECONDS))
        try:
            client.connect(*self._settings.place, keepalive=KEEP_ALIVE_SECONDS)
        except ssl.SSLError as error:
            raise BrokerError(f"no TLS with {self.target}: {_why(error)}") from None
        except OSError as error:
            raise BrokerError(f"no connection to {self.target}: {_why(error)}") from (
                None
            )
        while self._answer is None:
            self._turn(POLL_SECONDS, until, "did not take the connection")
        if self._answer.is_failure:
            raise BrokerError(f"{self.target} refuses: {self._answer}")

    def publish(self, message: Message) -> None:
        """Hand over a message; `flush` says when the broker has it."""
        assert self._client is not None, "published before it was opened"
        info = self._client.publish(
            message.topic, message.payload, qos=1, retain=message.retain
        )
        self._waiting.append(info)

    def turn(self, seconds: float) -> None:
        """Do what is to be done, or wait up to `seconds` for it.

        Raises:
            BrokerError: The connection is lost.
        """
        assert self._client is not None, "turned before it was opened"
        code = self._client.loop(seconds)
        self._waiting = [info for info in self._waiting if not info.is_published()]
        if code != paho.MQTT_ERR_SUCCESS and not self._refused:
            why = "was broken off" if self._cancelled else paho.error_string(code)
            raise BrokerError(f"{self.target}: {why.rstrip('.').lower()}")

    def flush(self, seconds: float) -> None:
        """Wait until the broker has acknowledged everything.

        Raises:
            BrokerError: The connection is lost, or it took longer than `seconds`.
        """
        until = time.monotonic() + seconds
        while self._waiting:
            self._turn(POLL_SECONDS, until, "did not acknowledge what was published")

    def cancel(self) -> None:
        """Break the connection off.  Any thread; the one in `turn` wakes up."""
        self._cancelled = True
        client = self._client
        sock = None if client is None else client.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                # Of TLS too: `unwrap` would wait for the other end.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # type: ignore[arg-type]

    def close(self) -> None:
        """Say goodbye, so that the broker does not tell the will, and close."""
        client, self._client = self._client, None
        self._waiting = []
        if client is not None:
            client.disconnect()
            if client.socket() is not None:
                client.loop(0)

    @property
    def _refused(self) -> bool:
        return self._answer is not None and self._answer.is_failure

    def _turn(self, seconds: float, until: float, failure: str) -> None:
        if time.monotonic() >= until:
            raise BrokerError(f"{self.target} {failure}")
        self.turn(seconds)

    def _new_client(self, connect_seconds: float) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, self._client_id)
        client.connect_timeout = connect_seconds
        if self._settings.username is not None:
            client.username_pw_set(self._settings.username, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self._will is not None:
            will = self._will
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)

        def on_connect(
            _client: Any, _data: Any, _flags: Any, code: Any, _: Any
        ) -> None:
            self._answer = code

        client.on_connect = on_connect
        return client


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.strerror or str(error)
