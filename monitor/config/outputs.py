"""Settings of the outputs: event log, database, messages, clips, status, metrics."""

import ipaddress
import re
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from monitor.config.base import Count, Host, Settings, Text, broker_target
from monitor.config.hooks import Reference, TotalSeconds, Url, check_template


class EventLogSettings(Settings):
    """The log of onsets, events, gaps and health records, as JSON Lines."""

    path: Text | None = "events.jsonl"
    """File, relative to state_dir; null: no event log."""

    rotate_mib: Annotated[float, Field(gt=0, le=1_000_000)] = 50.0
    """The file is rotated before it exceeds this size, in MiB."""

    keep: Annotated[int, Field(ge=0, le=10_000)] = 5
    """Number of rotated files to keep."""


class StoreSettings(Settings):
    """The database of events, scores and alerts; it contains no sound."""

    path: Text | None = "monitor.db"
    """File, relative to state_dir; null: no database and therefore no alerts."""

    keep_days: Annotated[float, Field(gt=0, le=36_500)] = 365.0
    """Events, gaps, levels of hours and alerts are deleted after this many days."""

    keep_scores_days: Annotated[float, Field(gt=0, le=36_500)] = 30.0
    """Scores are deleted after this many days; a source writes 4 MB of them a day."""

    embeddings: bool = False
    """Keep a description of what each window sounds like, its embedding, from which a
    label can be learned later; a source writes 40 MB of them a day.  Of several models
    it is that of world, if it is among them, else of the last one; urban has none.  No
    sound can be heard from it.  Embeddings are deleted like scores.
    """

    max_mib: Annotated[float, Field(ge=1, le=1_000_000)] = 1024.0
    """Above this size, the oldest scores and embeddings are deleted first, then the
    oldest events.
    """

    @model_validator(mode="after")
    def _embeddings_have_a_place(self) -> "StoreSettings":
        if self.embeddings and self.path is None:
            raise ValueError("embeddings: true needs path: they are in the database")
        return self


class NotifySettings(Settings):
    """Send a message by mail, Telegram, ntfy and others; needs the extra `notify`."""

    url_secret: Reference
    """Place of the apprise URL, such as ntfy://TOPIC; all of it is a secret."""

    body: Text | None = None
    """Template of the text with fields such as $label; null: the default message."""

    attach: Annotated[tuple[Literal["picture", "sound"], ...], Field(strict=False)] = ()
    """Of the clip of the event, what goes with the alert of its end: picture, sound or
    both; needs `privacy: clips`.
    """

    total_seconds: TotalSeconds = 60.0
    """Time limit for a delivery."""

    @model_validator(mode="after")
    def _template_is_valid(self) -> "NotifySettings":
        if self.body is not None:
            check_template(self.body, "text/plain")
        return self


def _is_topic(text: str) -> str:
    if not re.fullmatch(r"[^/+#$\s\x00-\x1f\x7f][^+#\s\x00-\x1f\x7f]{0,200}", text):
        raise ValueError(
            "must not contain spaces, + or #, begin with / or $, or have more than 201 "
            "characters"
        )
    if text.endswith("/") or "//" in text:
        raise ValueError("has an empty level; write it as home/sounds")
    return text


def _is_broker_host(host: str) -> str:
    if "@" in host:  # before it there may be a password
        raise PydanticCustomError(
            "secret", "must not contain a user; use username and password"
        )
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return host
    if re.search(r"[^\w.-]", host):
        raise ValueError(
            "must be a name or an address alone, as broker.example.org: the port has a "
            "setting of its own, port, and mqtts is tls: true"
        )
    return host


BrokerHost = Annotated[Host, AfterValidator(_is_broker_host)]
Topic = Annotated[Text, AfterValidator(_is_topic)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class BrokerSettings(Settings):
    """The connection to an MQTT broker."""

    host: BrokerHost | None = None
    """Name or address of the broker; null: nothing is published."""

    port: Port | None = None
    """Port of the broker; null: 8883 with TLS, else 1883."""

    tls: bool = False
    """Encrypt the connection and verify the broker's certificate."""

    ca_file: Text | None = None
    """PEM file with the certificate authorities to trust, instead of the system's."""

    username: Text | None = None
    """User name for the broker."""

    password: Reference | None = None
    """Place of the password: env:NAME, credential:NAME or file:PATH."""

    @property
    def place(self) -> tuple[str, int]:
        """Host and port; the host is set."""
        assert self.host is not None, "asked only where there is a broker"
        return self.host, self.port or (8883 if self.tls else 1883)

    @property
    def target(self) -> str:
        """Scheme, host and port; the host is set."""
        return broker_target("mqtts" if self.tls else "mqtt", *self.place)

    @model_validator(mode="after")
    def _fits_together(self) -> "BrokerSettings":
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file needs tls: true")
        if self.password is not None and self.username is None:
            raise ValueError("password needs username")
        return self


class MqttAlertSettings(BrokerSettings):
    """Publish alerts to a topic of an MQTT broker; needs the extra `mqtt`."""

    host: BrokerHost
    """Name or address of the broker."""

    topic: Topic = "sound-monitor/alerts"
    """Topic of the alerts: JSON, QoS 1, not retained."""

    total_seconds: TotalSeconds = 20.0
    """Time limit for a delivery, from the connection to the acknowledgement."""


Change = Literal["sensitivity", "mute"]
"""Settings of the monitor that a page or a broker may be allowed to change."""


class MqttSettings(BrokerSettings):
    """States on an MQTT broker, also for Home Assistant; needs the extra `mqtt`."""

    topic: Topic = "sound-monitor"
    """Prefix of every topic; a monitor that finds it taken appends its id."""

    discovery_prefix: Topic | None = "homeassistant"
    """Discovery prefix of Home Assistant; null: no discovery."""

    every_seconds: Annotated[float, Field(ge=1, le=3600)] = 10.0
    """Interval of levels and health; sounds are published at once."""

    may_change: Annotated[tuple[Change, ...], Field(strict=False)] = ()
    """What anybody who may publish on the broker may change: sensitivity, mute; Home
    Assistant then has a switch and numbers for them.
    """

    page_url: Url | None = None
    """Address of the web page, as a link in Home Assistant; null: none."""


class HeartbeatSettings(Settings):
    """A URL that is requested regularly while the monitor is listening."""

    url: Url | None = None
    """URL of the check, for example at healthchecks.io; null: no heartbeat."""

    url_secret: Reference | None = None
    """The URL as a secret, if its path or query is one; instead of url."""

    method: Literal["GET", "POST"] = "GET"
    """HTTP method."""

    sources: Literal["all", "any"] = "all"
    """all: every source must be listening; any: one is enough."""

    every_seconds: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    """Interval between requests."""

    timeout_seconds: TotalSeconds = 10.0
    """Time limit for a request."""

    @model_validator(mode="after")
    def _one_url(self) -> "HeartbeatSettings":
        if self.url is not None and self.url_secret is not None:
            raise ValueError("needs url or url_secret, and not both")
        return self


class ClipSettings(Settings):
    """The sound of events as FLAC with a spectrogram; only with `privacy: clips`."""

    path: Text = "clips"
    """Folder, relative to state_dir."""

    labels: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """Labels whose sound is stored; empty: all."""

    before_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Seconds of sound to keep before the event."""

    after_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Seconds of sound to keep after the event."""

    max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 7.0
    """Clips are deleted after this many days."""

    max_total_mib: Annotated[float, Field(gt=0, le=1_000_000)] = 500.0
    """Above this total size, the oldest clips are deleted."""

    max_count: Count = 1000
    """Above this number, the oldest clips are deleted."""

    min_free_mib: Annotated[float, Field(ge=0, le=1_000_000)] = 500.0
    """No clips are stored while the disk has less free space than this."""


def address_of(listen: str) -> tuple[str, int]:
    """Host and port of a text as 127.0.0.1:9110 or [::1]:9110.

    Raises:
        ValueError: It is of another form; a name other than localhost is none.
    """
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+|localhost)):(\d+)", listen)
    if found is None or not 0 < int(found[3]) < 65_536:
        raise ValueError("must be an address and a port, as 127.0.0.1:9110")
    host = "127.0.0.1" if found[2] == "localhost" else found[1] or found[2]
    try:
        return str(ipaddress.ip_address(host)), int(found[3])
    except ValueError:
        raise ValueError(f"contains {host}, which is not an address") from None


def _is_listen(text: str) -> str:
    address_of(text)
    return text


Listen = Annotated[Text, AfterValidator(_is_listen)]


class StatusSettings(Settings):
    """The socket on which `sound-monitor status` reaches the running monitor."""

    socket: Text | None = None
    """Path of the monitor's socket, relative to state_dir; null: in the runtime folder.
    """


class MetricsSettings(Settings):
    """An HTTP server for health and Prometheus; needs the extra `metrics`."""

    listen: Listen | None = None
    """Address and port, such as 127.0.0.1:9110; null: no server."""

    token_secret: Reference | None = None
    """Place of the bearer token that clients must send: env:NAME, credential:NAME or
    file:PATH.
    """

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; `listen` is set."""
        assert self.listen is not None, "asked only where there is a server"
        return address_of(self.listen)

    @model_validator(mode="after")
    def _is_private(self) -> "MetricsSettings":
        if self.listen is None or self.token_secret is not None:
            return self
        if not ipaddress.ip_address(self.address[0]).is_loopback:
            raise ValueError(
                f"listen: {self.listen} can be reached from other machines and needs "
                "token_secret; for this machine alone write 127.0.0.1"
            )
        return self
