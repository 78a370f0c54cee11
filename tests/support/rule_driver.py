"""Rules driven with hops and records, as the worker drives them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.detection.detector import begin_ongoing, update_ongoing
from monitor.records import Event, Ongoing, Onset, ScoreFrame, Timed
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.rules import Rules
from tests.support.timed import LABELS, SAMPLE_RATE, frame, onset
from tests.support.timed import event as make_event

THRESHOLD = 0.6
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday
HOP = 0.557


def rules(*settings: AlertSettings) -> Rules:
    return Rules(settings, dict.fromkeys(LABELS, THRESHOLD), SAMPLE_RATE)


class RuleDriver:
    """Sounds in a row of hops, given to rules; collects the alerts."""

    def __init__(self, tested: Rules, now: datetime = NOW) -> None:
        self.rules = tested
        self.began = now
        self.seconds = 0.0
        self.alerts: list[Alert] = []
        self.number = 0
        self.going_on: dict[str, Timed] = {}
        self.ongoing: dict[str, Ongoing] = {}
        self.frames: list[ScoreFrame] = []

    @property
    def now(self) -> datetime:
        return self.began + timedelta(seconds=self.seconds)

    def hop(self, *extra: Timed, score: float = 0.9, level: float = -30.0) -> None:
        """Give the rules the next window: ongoing labels have `score`."""
        self.seconds += HOP
        scores = dict.fromkeys(self.going_on, score)
        window = self._with_ongoing(frame("street", self.seconds, scores, level))
        self.alerts += self.rules.step([window, *extra], self.now)
        self.ongoing = {
            label: known
            for label, known in self.ongoing.items()
            if label in self.going_on
        }

    def _with_ongoing(self, window: Timed) -> Timed:
        """Return the window with its ongoing occurrences, as the detector does."""
        record = window.record
        assert isinstance(record, ScoreFrame)
        self.frames.append(record)
        for label, known in self.ongoing.items():
            index = LABELS.index(label)
            self.ongoing[label] = update_ongoing(known, record, index, THRESHOLD)
        for label, begun in self.going_on.items():
            if label not in self.ongoing:
                assert isinstance(begun.record, Onset)
                index = LABELS.index(label)
                self.ongoing[label] = begin_ongoing(
                    begun.record, self.frames, index, THRESHOLD
                )
        ongoing = tuple(self.ongoing.values())
        return replace(window, record=replace(record, ongoing=ongoing))

    def listen(self, seconds: float, **facts: float) -> None:
        until = self.seconds + seconds
        while self.seconds < until:
            self.hop(**facts)

    def begin(self, label: str = "siren", **facts: Any) -> None:
        self.number += 1
        timed = onset("street", label, self.seconds, self.number)
        record = timed.record
        assert isinstance(record, Onset)
        self.going_on[label] = replace(
            timed, record=replace(record, **facts), start_utc=self.now
        )
        self.hop(self.going_on[label])

    def end(self, label: str = "siren", **facts: Any) -> None:
        begun = self.going_on.pop(label)
        timed = make_event(
            "street",
            label,
            begun.start_seconds,
            self.seconds - begun.start_seconds,
            int(begun.record.id.split("-")[-1]),
        )
        assert isinstance(timed.record, Event)
        self.hop(replace(timed, record=replace(timed.record, **facts)))

    def sound(self, seconds: float = 3.0, label: str = "siren", **facts: Any) -> None:
        self.begin(label, **facts)
        self.listen(seconds)
        self.end(label)

    @property
    def kinds(self) -> list[str]:
        return [
            "escalation" if alert.body["escalation"] else alert.kind
            for alert in self.alerts
        ]
