"""Hooks: their protocol, the outcomes of a delivery, and a file for each kind.

A new one is a section in `monitor.config.hooks`, a field of its name in
`AlertSettings`, its name in `HOOKS` there, a file here, and a case in `build_hook`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from monitor.config.base import Settings
from monitor.config.hooks import CommandSettings, WebhookSettings
from monitor.config.outputs import ClipSettings, MqttAlertSettings, NotifySettings
from monitor.extras import require_extra
from monitor.sinks.alerts.alert import Alert


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint has accepted the alert."""

    detail: str = ""
    """The answer of the endpoint, for `alerts show`, without secrets."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The alert did not arrive; another attempt may succeed."""

    reason: str
    after_seconds: float | None = None
    """Pause that the endpoint asked for; None: the usual back-off."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The endpoint rejects the alert for good."""

    reason: str


Outcome = Delivered | Retry | Refused


@dataclass(frozen=True, slots=True)
class KeptClips:
    """The clips that the monitor keeps, for a hook that attaches them."""

    folder: Path
    settings: ClipSettings


class Hook(Protocol):
    """Carries alerts to one endpoint, one at a time.

    Its constructor takes its section of the settings, reads secrets and raises
    ConfigError with the place of what is wrong; it does not connect.  Expected trouble
    of a delivery is a Retry or Refused.
    """

    @property
    def target(self) -> str:
        """The destination, for people, without secrets and user parts."""

    @property
    def total_seconds(self) -> float:
        """Longest time of a delivery; then the sender cancels it."""

    def deliver(self, alert: Alert, /) -> Outcome:
        """Carry one alert.  Blocks; runs on a thread of its own."""

    def cancel(self) -> None:
        """End the delivery under way, if there is one.  Runs on another thread.

        `deliver` then returns or raises soon; its outcome is ignored unless it is
        Delivered.  The hook stays usable.
        """

    def close(self) -> None:
        """Close connections.  No delivery begins afterwards."""


def build_hook(
    section: Settings,
    place: str,
    environ: Mapping[str, str],
    clips: KeptClips | None = None,
) -> Hook:
    """Build the hook of a section; `place` is its key path, as `alerts[0].webhook`.

    Without `clips`, none is attached.

    Raises:
        ConfigError: A secret, a file, a program or a package is missing or has the
            wrong form; the message has the place.
    """
    match section:
        case WebhookSettings():
            # The HTTP client takes a tenth of a second to import, which `check` and
            # --help of a machine without alerts do not need.
            from monitor.sinks.alerts.hooks.webhook import Webhook

            return Webhook(section, place, environ)
        case CommandSettings():
            from monitor.sinks.alerts.hooks.command import Command

            return Command(section, place, environ)
        case NotifySettings():
            require_extra("notify", "apprise", place)
            from monitor.sinks.alerts.hooks.notify import Notify

            return Notify(section, place, environ, clips)
        case MqttAlertSettings():
            require_extra("mqtt", "paho", place)
            from monitor.sinks.alerts.hooks.mqtt import Mqtt

            return Mqtt(section, place, environ)
    raise AssertionError(f"no hook for {type(section).__name__}")
