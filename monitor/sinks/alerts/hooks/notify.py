"""The notify hook: sends alerts as messages, by any service that apprise knows."""

import logging
import re
from collections.abc import Mapping

import apprise

from monitor.config.outputs import NotifySettings
from monitor.errors import ConfigError
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.body import render
from monitor.sinks.alerts.hooks import Delivered, Outcome, Refused, Retry
from monitor.sinks.alerts.secrets import read_one_line
from monitor.text import printable, redact, secret_parts

# These log URLs, and here a URL is a secret.  The outcome has the relevant part.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False
logging.getLogger("urllib3").setLevel(logging.ERROR)

MAX_DETAIL = 200

_REDIRECTED = re.compile(r"\berror=30[12378]\b")
"""The status of an answer, as apprise logs it."""


class Notify:
    """Sends alerts to one service, by its URL.

    apprise does not report whether trying again would help, so every failure but a
    redirect is tried again until the deadline of the alert.
    """

    def __init__(
        self, settings: NotifySettings, place: str, environ: Mapping[str, str]
    ) -> None:
        """Read the URL; connect to nothing: see `build_hook`."""
        key = f"{place}.url_secret"
        url = read_one_line(settings.url_secret, key, environ)
        self._settings = settings
        self._secrets = [url, *secret_parts(url.partition("://")[2])]
        # Nothing is kept on the disk, no redirect is followed, and messages are sent
        # from the calling thread: the process waits for apprise's own when it ends.
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
        # Even its host may be a token.
        self.target = str(service.service_name)
        self.total_seconds = settings.total_seconds
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(service)

    def deliver(self, alert: Alert) -> Outcome:
        """Send one alert.  Blocks."""
        title = f"sound-monitor: {alert.rule}"
        urgent = bool(alert.body.get("escalation"))
        kind = apprise.NotifyType.WARNING if urgent else apprise.NotifyType.INFO
        logged: list[str] = []
        sent = self._apprise.notify(
            body=self._text(alert),
            title=title,
            notify_type=kind,
            # Else a reader of Markdown sets gun_shot in italics.
            body_format=apprise.NotifyFormat.TEXT,
            interpret_escapes=False,
            log_callback=lambda entry, _service: logged.append(entry.message),
            log_level=logging.WARNING,
        )
        if sent:
            return Delivered(self.target)
        why = " ".join(" ".join(logged).split())
        if _REDIRECTED.search(why):
            # Many a service answers so after it has accepted a message.
            reason = "redirects are not followed; give the URL that takes the messages"
            return Refused(f"{self.target}: {self._cleaned(why)} {reason}")
        return Retry(f"{self.target}: {self._cleaned(why)}")

    def cancel(self) -> None:
        """Do nothing: apprise has limits of its own, some seconds for each step."""

    def close(self) -> None:
        """Do nothing: between deliveries there is no connection."""

    def _text(self, alert: Alert) -> str:
        template = self._settings.body
        if template is None:
            return str(alert.body.get("message") or alert.kind)
        return render(template, "text/plain", alert.body)

    def _cleaned(self, why: str) -> str:
        clean = printable(redact(why, self._secrets))[:MAX_DETAIL]
        return clean or "apprise gives no reason"
