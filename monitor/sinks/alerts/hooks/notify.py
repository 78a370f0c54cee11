"""The notify hook: an alert as a message, by whatever apprise knows."""

import logging
import re
from collections.abc import Mapping
from urllib.parse import unquote

import apprise

from monitor.config.outputs import NotifySettings
from monitor.errors import ConfigError
from monitor.sinks.alerts.body import render
from monitor.sinks.alerts.hooks.hook import Delivered, Outcome, Retry
from monitor.sinks.alerts.outbox import Alert
from monitor.sinks.alerts.secrets import read_one_line
from monitor.text import printable, redact

# They log URLs, and here a URL is a secret.  What matters of it is in the outcome.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False
logging.getLogger("urllib3").setLevel(logging.ERROR)

MOST_DETAIL = 200
SHORTEST_SECRET = 4
"""Shorter parts of a URL are words such as `to` as often as secrets."""


class Notify:
    """Sends alerts to one service, by its URL.

    What apprise tells of a failure does not say whether trying again would help, so
    every failure is tried again until the deadline of the alert.
    """

    def __init__(
        self, settings: NotifySettings, place: str, environ: Mapping[str, str]
    ) -> None:
        """Read the URL; connect to nothing.

        Args:
            settings: Its section.
            place: Key path of the section, for messages.
            environ: Of the process, for secrets.

        Raises:
            ConfigError: The URL is missing, or apprise does not know it.
        """
        key = f"{place}.url_secret"
        url = read_one_line(settings.url_secret, key, environ)
        self._settings = settings
        self._secrets = _parts(url)
        # Nothing is kept on the disk; what is sent goes where the URL says, from the
        # thread that asks for it: the process waits for those of apprise when it ends.
        asset = apprise.AppriseAsset(
            app_id="sound-monitor",
            storage_mode=apprise.PersistentStoreMode.MEMORY,
            http_redirects=False,
            service_timeout=0,
        )
        service = apprise.Apprise.instantiate(url, asset=asset)
        if service is None:
            raise ConfigError(
                f"{key}: {settings.url_secret}: is not a URL that apprise knows"
            )
        self._name = str(service.service_name)
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(service)

    @property
    def target(self) -> str:
        """The name of the service; even its host may be a token."""
        return self._name

    @property
    def total_seconds(self) -> float:
        """Longest time of a delivery."""
        return self._settings.total_seconds

    def deliver(self, alert: Alert) -> Outcome:
        """Send one alert.  Blocks."""
        title = f"sound-monitor: {alert.rule}"
        urgent = bool(alert.body.get("escalation"))
        kind = apprise.NotifyType.WARNING if urgent else apprise.NotifyType.INFO
        said: list[str] = []
        sent = self._apprise.notify(
            body=self._text(alert),
            title=title,
            notify_type=kind,
            # So gun_shot is not set in italics by what reads Markdown.
            body_format=apprise.NotifyFormat.TEXT,
            interpret_escapes=False,
            log_callback=lambda entry, _service: said.append(entry.message),
            log_level=logging.WARNING,
        )
        if sent:
            return Delivered(self._name)
        why = " ".join(" ".join(said).split())
        return Retry(f"{self._name}: {self._told(why)}")

    def cancel(self) -> None:
        """Do nothing: apprise has limits of its own, some seconds for each step."""

    def close(self) -> None:
        """Do nothing: between deliveries there is no connection."""

    def _text(self, alert: Alert) -> str:
        template = self._settings.body
        if template is None:
            return str(alert.body.get("message") or alert.kind)
        return render(template, "text/plain", alert.body)

    def _told(self, why: str) -> str:
        clean = printable(redact(why, self._secrets))[:MOST_DETAIL]
        return clean or "apprise does not say what went wrong"


def _parts(url: str) -> list[str]:
    """The URL and every part of it, longest first: which is a secret, who knows."""
    _, _, rest = url.partition("://")
    words = {url, rest}
    words |= {word for word in re.split(r"[/:@?&=,;]", rest) if word}
    words |= {unquote(word) for word in words}
    return sorted((w for w in words if len(w) >= SHORTEST_SECRET), key=len)[::-1]
