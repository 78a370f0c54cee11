"""What subscribers of the broker may ask for: to mute alerts, and a sensitivity."""

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.errors import SoundMonitorError
from monitor.sinks.mqtt.connection import Message
from monitor.sinks.mqtt.topics import OFF, ON
from monitor.sinks.status_client import Document
from monitor.sinks.status_requests import Commands

logger = logging.getLogger(__name__)

MUTE_SECONDS = 86_400
"""Duration of a mute: one that was forgotten ends by itself."""

REJECTED_SECONDS = 60.0
"""Shortest time between log lines about the rejected requests at one topic."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Does what is asked for, as far as the configuration allows it."""

    allowed: Collection[str]
    """What may be changed: mute, sensitivity."""

    commands: Commands
    rules: Sequence[str]
    """Names of the alert rules."""

    mutes: Callable[[], Sequence[Document]]
    """The mutes that there are."""

    now: Callable[[], datetime]
    """The wall clock."""

    sensitivities: Mapping[str, float]
    """Sensitivity of each label that is reported."""

    @property
    def mute(self) -> str | None:
        """ON: every rule is muted; else OFF.  None: nobody may mute them."""
        if "mute" not in self.allowed:
            return None
        muted = {str(mute["rule"]) for mute in self.mutes()}
        return ON if self.rules and muted.issuperset(self.rules) else OFF

    def answer(self, message: Message, label: str | None) -> str:
        """Do what a message asks for: may take seconds.

        `label` is the one whose sensitivity shall change; None: alerts shall be muted.

        Returns:
            Why it changed nothing; empty if it was done.
        """
        payload = str(message.payload)
        if not payload:  # it clears what somebody has retained there
            return ""
        try:
            if label is None:
                self._mute(payload)
            else:
                self._change(label, payload)
        except SoundMonitorError as error:
            return f"a message at {message.topic:.200} changed nothing: {error}"
        return ""

    def _mute(self, payload: str) -> None:
        self._check_allowed("mute")
        if payload not in (ON, OFF):
            raise SoundMonitorError(f"{payload[:40]!r} is neither ON nor OFF")
        if not self.rules:
            raise SoundMonitorError("the configuration has no alerts to mute")
        seconds = MUTE_SECONDS if payload == ON else 0
        end = self.now() + timedelta(seconds=seconds)
        longer = {
            mute["rule"]
            for mute in self.mutes()
            if payload == ON and datetime.fromisoformat(str(mute["until"])) > end
        }
        for rule in self.rules:
            if rule not in longer:
                self.commands("mute", {"rule": rule, "seconds": seconds})

    def _change(self, label: str, payload: str) -> None:
        self._check_allowed("sensitivity")
        if label not in self.sensitivities:
            raise SoundMonitorError(f"no label {label[:40]!r} is reported")
        try:
            value = float(payload)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise SoundMonitorError(f"{payload[:40]!r} is no number from 0 to 1")
        self.commands("sensitivity", {"label": label, "value": value})

    def _check_allowed(self, what: str) -> None:
        if what not in self.allowed:
            raise SoundMonitorError(f"mqtt.may_change does not have {what}")


class RejectedRequests:
    """Logs rejected requests: the first at a topic at once, then a line a minute."""

    def __init__(self) -> None:
        """Begin without any."""
        self._newest: dict[str, tuple[float, int, str]] = {}
        """By topic, when a line was logged, the requests since then, and the newest."""

    def report(self, topic: str, reason: str, now: float) -> None:
        """Take the reason why a request was rejected.

        `topic` is empty for all that nobody reads: there may be any number of them.
        """
        if topic in self._newest:
            logged_at, count, _ = self._newest[topic]
            self._newest[topic] = logged_at, count + 1, reason
        else:
            logger.warning("%s", reason)
            self._newest[topic] = now, 0, ""

    def flush(self, now: float) -> None:
        """Log the number of those that are due."""
        for topic, (logged_at, count, reason) in list(self._newest.items()):
            if now - logged_at < REJECTED_SECONDS:
                continue
            del self._newest[topic]
            if count:
                where = "here" if topic else "at topics that do not exist"
                logger.warning("%s (%d more in a minute %s)", reason, count, where)
                self._newest[topic] = now, 0, ""
