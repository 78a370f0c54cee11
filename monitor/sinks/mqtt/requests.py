"""What subscribers of the broker may ask for: to mute alerts, and a sensitivity."""

import logging
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.errors import SoundMonitorError
from monitor.sinks.mqtt.connection import Message
from monitor.sinks.mqtt.topics import MOST_LETTERS, OFF, ON, Topics
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


class WaitingRequests:
    """The requests that are not done yet: for each label, and to mute, the newest.

    So there are never more than labels, however many arrive.  `add` is called on
    another thread than the rest.
    """

    def __init__(self, requests: Requests, topics: Topics) -> None:
        """Begin without any; `requests` does them."""
        self._requests = requests
        self._topics = topics
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[Message, int]] = {}

    def add(self, message: Message) -> None:
        """Take a request, in the place of one for the same label."""
        if not message.payload:  # it clears what somebody has retained there
            return
        key = self._key(message.topic)
        with self._lock:
            _, count = self._waiting.pop(key, (message, 0))
            short = replace(message, topic=message.topic[:MOST_LETTERS])
            self._waiting[key] = short, count + 1

    def do_each(
        self, rejected: "RejectedRequests", now: float, ends: Callable[[], bool]
    ) -> None:
        """Do those that wait now, the oldest first; none once `ends` returns True.

        `rejected` takes the reasons why they changed nothing.
        """
        for _ in range(len(self)):
            if ends():
                return
            with self._lock:
                key = next(iter(self._waiting))
                message, count = self._waiting.pop(key)
            label = self._topics.label_of_request(message.topic)
            if reason := self._requests.answer(message, label):
                rejected.report(key, reason, now, 1 if key else count)

    def __len__(self) -> int:
        """Return the number of those that wait."""
        return len(self._waiting)

    def _key(self, topic: str) -> str:
        """Return the topic of the state that a request is to change; empty: none."""
        label = self._topics.label_of_request(topic)
        if label is None:
            return self._topics.mute
        known = label in self._requests.sensitivities
        return self._topics.sensitivity(label) if known else ""


class RejectedRequests:
    """Logs rejected requests: the first at a topic at once, then a line a minute."""

    def __init__(self) -> None:
        """Begin without any."""
        self._newest: dict[str, tuple[float, int, str]] = {}
        """By topic, when a line was logged, the requests since then, and the newest."""

    def report(self, topic: str, reason: str, now: float, count: int = 1) -> None:
        """Take the reason why `count` requests were rejected.

        `topic` is empty for all that nobody reads: there may be any number of them.
        """
        if topic in self._newest:
            logged_at, before, _ = self._newest[topic]
            self._newest[topic] = logged_at, before + count, reason
        else:
            logger.warning("%s", reason)
            self._newest[topic] = now, count - 1, reason

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
