"""Hooks: one file for each way to send an alert.

A new one is a section in `monitor.config.hooks`, a field of its name in
`AlertSettings`, its name in `HOOKS` there, a file here, and a case in `build_hook`.
"""

from collections.abc import Mapping

from monitor.config.base import Settings
from monitor.config.hooks import CommandSettings, WebhookSettings
from monitor.config.outputs import MqttAlertSettings, NotifySettings
from monitor.errors import require_extra
from monitor.sinks.alerts.hooks.hook import Hook


def build_hook(section: Settings, place: str, environ: Mapping[str, str]) -> Hook:
    """Build the hook that a section of the settings describes.

    Args:
        section: Such as `WebhookSettings`.
        place: Its key path, as `alerts[0].webhook`, for messages.
        environ: Of the process, for secrets.

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

            return Notify(section, place, environ)
        case MqttAlertSettings():
            require_extra("mqtt", "paho", place)
            from monitor.sinks.alerts.hooks.mqtt import Mqtt

            return Mqtt(section, place, environ)
    raise AssertionError(f"no hook for {type(section).__name__}")
