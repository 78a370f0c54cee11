"""What subscribers of the broker may ask for: to mute alerts, and a sensitivity."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.errors import SoundMonitorError
from monitor.sinks.mqtt.topics import OFF, ON, Topics
from monitor.sinks.status_client import Document
from monitor.sinks.status_requests import Commands

MUTE_SECONDS = 86_400
"""Duration of a mute: one that was forgotten ends by itself."""


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

    def answer(self, topics: Topics, topic: str, payload: str) -> str:
        """Do what a message asks for; it may take some seconds.

        Returns:
            Why it changed nothing; empty if it was done.
        """
        label = topics.label_of_request(topic)
        try:
            if label is None:
                self._mute(payload)
            else:
                self._change(label, payload)
        except SoundMonitorError as error:
            return f"a message at {topic:.200} changed nothing: {error}"
        return ""

    def _mute(self, payload: str) -> None:
        if "mute" not in self.allowed or payload not in (ON, OFF):
            raise SoundMonitorError("it must be ON or OFF, and mqtt.may_change hold it")
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
        try:
            value = float(payload)
        except ValueError:
            value = math.nan
        known = "sensitivity" in self.allowed and label in self.sensitivities
        if not known or not 0 <= value <= 1:
            raise SoundMonitorError(
                "it must be a number from 0 to 1 for a label that is reported, and "
                "mqtt.may_change hold sensitivity"
            )
        self.commands("sensitivity", {"label": label, "value": value})
