"""Settings of publishing: the broker that the records of a monitor go to."""

import re
import socket
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from monitor.config.base import Settings, Text, broker_target, check_url_parts
from monitor.config.hooks import Reference
from monitor.config.outputs import BrokerSettings

MONITOR = r"[a-z0-9][a-z0-9_-]{0,62}"
"""Ids of monitors: safe in topics, subjects, names of files and HTML."""

PORTS = {"mqtt": 1883, "mqtts": 8883, "nats": 4222, "tls": 4222}
"""Schemes of the URLs of brokers, and their ports; `tls` is NATS with TLS."""

_WITH_TLS = ("mqtts", "tls")


def _is_broker_url(url: str) -> str:
    parts = check_url_parts(url, tuple(PORTS), "use username and password")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must be a scheme, a host and maybe a port: mqtts://HOST:8883")
    return url


def _is_monitor(text: str) -> str:
    if not re.fullmatch(MONITOR, text):
        raise ValueError(
            "must begin with a small letter or digit and have at most 63 small "
            "letters, digits and _ -"
        )
    return text


def _is_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", text):
        raise ValueError(
            "must begin with a letter or digit and have at most 63 letters, digits and "
            "_ -: it is a level of topics, and the name of a stream"
        )
    return text


BrokerUrl = Annotated[Text, AfterValidator(_is_broker_url)]
MonitorId = Annotated[Text, AfterValidator(_is_monitor)]
Prefix = Annotated[Text, AfterValidator(_is_prefix)]


def monitor_id_of_host(host: str) -> str:
    """Make an id of the name of a host."""
    cleaned = re.sub(r"[^a-z0-9_-]+", "-", host.partition(".")[0].lower())
    return cleaned.strip("-_")[:63] or "monitor"


class FleetBroker(Settings):
    """The broker of a fleet, MQTT or NATS, for monitors and collectors."""

    url: BrokerUrl | None = None
    """mqtt://HOST, mqtts://HOST, nats://HOST or tls://HOST (NATS with TLS), each with a
    :PORT if need be; null: nothing is published.  Needs the extra `mqtt` or `nats`.
    """

    prefix: Prefix = "sound-monitor-fleet"
    """First level of the topics or subjects, and name of the NATS stream."""

    username: Text | None = None
    """User name for the broker."""

    password: Reference | None = None
    """Place of the password: env:NAME, credential:NAME or file:PATH."""

    nkey: Reference | None = None
    """Place of the NKey seed (SU...) for NATS, instead of username and password."""

    ca_file: Text | None = None
    """PEM file with the certificate authorities to trust, instead of the system's."""

    @property
    def scheme(self) -> str:
        """Scheme of the URL, a key of `PORTS`; the URL is set."""
        return urlsplit(self.url or "").scheme

    @property
    def is_mqtt(self) -> bool:
        """True for MQTT, False for NATS; the URL is set."""
        return self.scheme.startswith("mqtt")

    @property
    def has_tls(self) -> bool:
        """True if the connection is encrypted; the URL is set."""
        return self.scheme in _WITH_TLS

    @property
    def place(self) -> tuple[str, int]:
        """Host and port; the URL is set."""
        parts = urlsplit(self.url or "")
        return parts.hostname or "", parts.port or PORTS[parts.scheme]

    @property
    def target(self) -> str:
        """Scheme, host and port; the URL is set."""
        return broker_target(self.scheme, *self.place)

    @property
    def mqtt(self) -> BrokerSettings:
        """The same as settings of an MQTT broker; the URL is one."""
        host, port = self.place
        return BrokerSettings(
            host=host,
            port=port,
            tls=self.has_tls,
            ca_file=self.ca_file,
            username=self.username,
            password=self.password,
        )

    @model_validator(mode="after")
    def _fits_together(self) -> "FleetBroker":
        if self.password is not None and self.username is None:
            raise ValueError("password needs username")
        if self.url is None:
            return self
        if self.ca_file is not None and not self.has_tls:
            raise ValueError("ca_file needs mqtts:// or tls://")
        if self.nkey is not None and self.is_mqtt:
            raise ValueError("nkey is for NATS: nats:// or tls://")
        if self.nkey is not None and self.username is not None:
            raise ValueError("nkey and username are two ways to sign in; remove one")
        return self


class PublishSettings(FleetBroker):
    """Every record of this monitor, published for the collector of a fleet."""

    monitor: MonitorId | None = None
    """Id of this monitor in the fleet, which no other has; null: its host name."""

    site: Annotated[Text, Field(max_length=200)] | None = None
    """Place or group of the monitor, free text."""

    scores: bool = True
    """Publish the scores and levels of each minute too; a source has 4 MB of them a
    day.
    """

    digest_seconds: Annotated[float, Field(ge=1, le=120)] = 60.0
    """Interval of a digest of the status, by which the collector knows that all is
    well, and what it lacks; one that is not heard for three minutes is deaf there.
    """

    @property
    def monitor_id(self) -> str:
        """The id, that of the host if there is none."""
        return self.monitor or monitor_id_of_host(socket.gethostname())
