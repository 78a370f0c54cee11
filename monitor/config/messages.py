"""Settings of further ways to be told: messages by apprise, MQTT, a heartbeat."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from monitor.config.hooks import Reference, TotalSeconds, Url, check_template
from monitor.config.settings import Host, Settings, Text


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
