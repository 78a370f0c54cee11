"""The notify hook: sends alerts as messages, by any service that apprise knows."""

import logging
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import apprise
from apprise.attachment.file import AttachFile

from monitor.config.outputs import NotifySettings
from monitor.errors import ConfigError
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.body import render
from monitor.sinks.alerts.hooks import (
    Delivered,
    KeptClips,
    Outcome,
    Refused,
    Retry,
)
from monitor.sinks.alerts.secrets import read_one_line
from monitor.text import printable, redact, secret_parts

# These log URLs, and here a URL is a secret.  The outcome has the relevant part.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False
logging.getLogger("urllib3").setLevel(logging.ERROR)

MAX_DETAIL = 200
POLL_SECONDS = 0.2
WRITE_SECONDS = 5.0
"""Time in which a clip is written, once its last second has been captured."""

_REDIRECTED = re.compile(r"\berror=30[12378]\b")
"""The status of an answer, as apprise logs it."""


class Notify:
    """Sends alerts to one service, by its URL.

    apprise does not report whether trying again would help, so every failure but a
    redirect is tried again until the deadline of the alert.
    """

    def __init__(
        self,
        settings: NotifySettings,
        place: str,
        environ: Mapping[str, str],
        clips: KeptClips | None = None,
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
        if settings.attach and not service.attachment_support:
            raise ConfigError(f"{place}.attach: {self.target} takes no attachments")
        self._clips = clips if settings.attach else None
        self._wait_seconds = 0.0
        if self._clips is not None:
            self._wait_seconds = self._clips.settings.after_seconds + WRITE_SECONDS
        self.total_seconds = settings.total_seconds + self._wait_seconds
        self._cancelled = threading.Event()
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(service)

    def deliver(self, alert: Alert) -> Outcome:
        """Send one alert, of an end with its clip, for which it waits.  Blocks."""
        try:
            files = self._attachments(alert)
            outcome = Retry("cancelled") if files is None else self._send(alert, files)
            if not isinstance(outcome, Retry) or not files or self._cancelled.is_set():
                return outcome
            # It may be too large for the service: the message must arrive without it.
            plain = self._send(alert, [])
            if isinstance(plain, Delivered):
                return Delivered(f"{self.target}, without the clip: {outcome.reason}")
            return plain
        finally:
            self._cancelled.clear()

    def _attachments(self, alert: Alert) -> list[Path] | None:
        """Find the files of the clip; empty: there are none; None: cancelled.

        The clip is stored some seconds after the alert was made.
        """
        start, event_id = alert.body.get("start"), alert.event_id
        clips = self._clips
        if clips is None or alert.kind != "end" or not start or event_id is None:
            return []
        wanted = clips.settings.labels
        if wanted and alert.body.get("label") not in wanted:
            return []
        from monitor.sinks.clip_files import clip_of  # imports numpy

        is_expected = alert.body.get("end_reason") != "interrupted"
        deadline = time.monotonic() + (self._wait_seconds if is_expected else 0)
        since = datetime.fromisoformat(str(start))
        while (clip := clip_of(clips.folder, event_id, since)) is None:
            if time.monotonic() >= deadline:
                return []
            if self._cancelled.wait(POLL_SECONDS):
                return None
        files = {"picture": clip.picture, "sound": clip.sound}
        return [files[name] for name in self._settings.attach]

    def _send(self, alert: Alert, files: list[Path]) -> Outcome:
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
            attach=[_attachment(path) for path in files] or None,
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
        """End the wait for a clip; apprise has limits of its own for each step."""
        self._cancelled.set()

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


def _attachment(path: Path) -> AttachFile:
    # Not as text, in which apprise looks for the parts of a URL.
    return AttachFile(str(path))
