"""Settings of further ways to be told: messages by apprise, MQTT, a heartbeat.

Settings of clips: the sound of events, which is stored only where that is wanted.

Settings of how others learn how the monitor is doing: `status` and metrics.

Settings of microphone health: what counts as wrong, and for how long.

Settings of the canary: a known sound that must come out again and again.
"""

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from monitor.config.base import Count, Host, Settings, Text
from monitor.config.hooks import Reference, TotalSeconds, Url, check_template
from monitor.records import HealthKind


class NotifySettings(Settings):
    """Send a message by mail, Telegram, ntfy and many others; needs apprise."""

    url_secret: Reference
    """Where the URL of apprise is, as ntfy://TOPIC; it is a secret as a whole."""

    body: Text | None = None
    """Template of the text, with $label and the like; null: the message."""

    total_seconds: TotalSeconds = 60.0
    """Longest time for a delivery."""

    @model_validator(mode="after")
    def _the_template_is_sound(self) -> "NotifySettings":
        if self.body is not None:
            check_template(self.body, "text/plain")
        return self


def _is_topic(text: str) -> str:
    if not re.fullmatch(r"[^/+#$\s\x00-\x1f\x7f][^+#\s\x00-\x1f\x7f]{0,200}", text):
        raise ValueError(
            "must not hold spaces, + or #, nor begin with / or $, and have at most 201 "
            "characters"
        )
    if text.endswith("/") or "//" in text:
        raise ValueError("has an empty level; write it as home/sounds")
    return text


Topic = Annotated[Text, AfterValidator(_is_topic)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class BrokerSettings(Settings):
    """How to reach an MQTT broker."""

    host: Host | None = None
    """Name or address of the broker; null: nothing is published."""

    port: Port | None = None
    """Its port; null: 8883 with TLS, else 1883."""

    tls: bool = False
    """Encrypt the connection, and make sure whom it reaches."""

    ca_file: Text | None = None
    """PEM file with the authorities to trust, instead of those of the system."""

    username: Text | None = None
    """User of the broker."""

    password: Reference | None = None
    """Its password: env:NAME, credential:NAME or file:PATH."""

    @property
    def place(self) -> tuple[str, int]:
        """Host and port; the host is set."""
        assert self.host is not None, "asked only where there is a broker"
        return self.host, self.port or (8883 if self.tls else 1883)

    @model_validator(mode="after")
    def _fits_together(self) -> "BrokerSettings":
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file needs tls: true")
        if self.password is not None and self.username is None:
            raise ValueError("password needs username")
        return self


class MqttAlertSettings(BrokerSettings):
    """Publish alerts to a topic of an MQTT broker; needs paho-mqtt."""

    host: Host
    """Name or address of the broker."""

    topic: Topic = "sound-monitor/alerts"
    """Alerts are published here as JSON, with QoS 1 and not retained."""

    total_seconds: TotalSeconds = 20.0
    """Longest time for a delivery, from the connection to the acknowledgement."""


class MqttSettings(BrokerSettings):
    """States on an MQTT broker, also for Home Assistant; needs paho-mqtt."""

    topic: Topic = "sound-monitor"
    """First levels of every topic; another one for each monitor of a broker."""

    discovery_prefix: Topic | None = "homeassistant"
    """Where Home Assistant looks for what there is; null: it is not told."""

    every_seconds: Annotated[float, Field(ge=1, le=3600)] = 10.0
    """Levels and health are published so often; sounds at once."""


class HeartbeatSettings(Settings):
    """A URL called while the monitor truly listens; others notice when it does not."""

    url: Url | None = None
    """What is called, as at healthchecks.io; null, and so url_secret: nothing."""

    url_secret: Reference | None = None
    """The URL as a secret, where its path or query is one; instead of url."""

    method: Literal["GET", "POST"] = "GET"
    """How it is called."""

    sources: Literal["all", "any"] = "all"
    """Whether all sources must be listened to, or any one is enough."""

    every_seconds: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    """It is called so often."""

    timeout_seconds: TotalSeconds = 10.0
    """Longest time for a call."""

    @model_validator(mode="after")
    def _one_url(self) -> "HeartbeatSettings":
        if self.url is not None and self.url_secret is not None:
            raise ValueError("needs url or url_secret, and not both")
        return self


class ClipSettings(Settings):
    """The sound of events as FLAC, with a picture; only with `privacy: clips`."""

    path: Text = "clips"
    """Folder, relative to state_dir."""

    labels: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """Labels whose sound is stored; none: all."""

    before_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Sound before the event."""

    after_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Sound after the event."""

    max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 7.0
    """Clips are deleted after so many days."""

    max_total_mib: Annotated[float, Field(gt=0, le=1_000_000)] = 500.0
    """Above this size of all clips together the oldest are deleted."""

    max_count: Count = 1000
    """Above this number of clips the oldest are deleted."""

    min_free_mib: Annotated[float, Field(ge=0, le=1_000_000)] = 500.0
    """Nothing is stored while the disk has less room than this."""


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
        raise ValueError(f"holds {host}, which is no address") from None


def _is_listen(text: str) -> str:
    address_of(text)
    return text


Listen = Annotated[Text, AfterValidator(_is_listen)]


class StatusSettings(Settings):
    """Where the command `status` asks the running monitor how it is doing."""

    socket: Text | None = None
    """Its private socket, relative to state_dir; null: in a folder for such things."""


class MetricsSettings(Settings):
    """An HTTP server with /healthz and /metrics; needs prometheus-client."""

    listen: Listen | None = None
    """Address and port, as 127.0.0.1:9110; null: there is no server."""

    token_secret: Reference | None = None
    """Token that is asked for: env:NAME, credential:NAME or file:PATH."""

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


class HealthSettings(Settings):
    """When a microphone counts as ill, and as well again."""

    hold_seconds: Annotated[float, Field(ge=1, le=3600)] = 10.0
    """What is wrong is told once it has lasted so long."""

    clear_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """It is over once it was away for so long."""

    deaf_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """A source that is not listened to is told once that has lasted so long."""

    noise_floor_fall_db: Annotated[float, Field(ge=3, le=100)] = 12.0
    """So far below the quietest hours of the last day, it is covered or muffled."""

    ignore: Annotated[tuple[HealthKind, ...], Field(strict=False)] = ()
    """Kinds that are never told, as dead-channel of one capsule on a stereo plug."""


CanaryLabel = Literal["siren", "dog_bark", "car_horn"]
"""What the program can synthesise, the surest first."""


class CanarySettings(Settings):
    """A known sound, mixed in apart from what is heard: it must be recognised."""

    every_seconds: Annotated[float, Field(ge=60, le=604_800)] | None = 3600.0
    """Each live source is tried so often, and soon after the start; null: never."""

    label: CanaryLabel | None = None
    """Which sound; null: the first of these three that model and rules can tell."""
