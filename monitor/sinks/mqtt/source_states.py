"""What is published of sources: newest states by topic, and sounds as they happen."""

import json
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from monitor.records import EVERY_SOURCE, Event, Onset, ScoreFrame, Timed
from monitor.sinks.mqtt.connection import Message
from monitor.sinks.mqtt.topics import OFF, OFFLINE, ON, ONLINE, Topics
from monitor.statistics import Statistics, Trouble
from monitor.text import rounded, utc_text

MOST_WAITING = 100
"""Messages about sounds that wait for the broker; the newest stay."""

WAITING_SECONDS = 60.0
"""Longest time that they wait: an automation is not to act on what is long over."""

UNKNOWN = "None"
"""Home Assistant takes it for an unknown state."""

MOST_PICTURE_BYTES = 2**20
"""Larger ones are not published."""


class SourceStates:
    """Turns records and statistics into messages.

    The newest state of a topic is kept, however long the broker is away.  The topics of
    the states and messages here are without the prefix, which is claimed later.  Taken
    on any thread, published on another one.
    """

    def __init__(
        self,
        labels: Mapping[str, Sequence[str]],
        sample_rate: int,
        every_seconds: float,
        now: Callable[[], float],
    ) -> None:
        """Begin with every label off.

        Args:
            labels: By source, the labels that are reported.
            sample_rate: Samples a second, of the statistics.
            every_seconds: Interval of levels and health.
            now: A monotonic clock, seconds.
        """
        self._labels = labels
        self._sample_rate = sample_rate
        self._every_seconds = every_seconds
        self._now = now
        self._topics = Topics("")
        self._lock = threading.Lock()
        self._states: dict[str, str] = {
            self._topics.label(source, label): OFF
            for source, own in labels.items()
            for label in own
        }
        self._changed: dict[str, None] = {}
        self._sounds: deque[tuple[float, Message]] = deque(maxlen=MOST_WAITING)
        self._pictures: dict[str, tuple[float, Message]] = {}
        """The newest of each source, of some hundred kilobytes each."""

        self._levels: dict[str, list[tuple[float, float]]] = {}
        """By source, powers of the hops since the last report: plain, A-weighted."""

        self._reported = -math.inf
        self._reported_states: tuple[object, ...] = ()

    def write(self, batch: Sequence[Timed]) -> None:
        """Take records."""
        for timed in batch:
            record = timed.record
            if isinstance(record, ScoreFrame):
                powers = 10 ** (record.level_dbfs / 10), 10 ** (record.laeq_db / 10)
                self._levels.setdefault(record.source, []).append(powers)
            elif isinstance(record, Onset | Event):
                self._take_sound(timed, record)

    def _take_sound(self, timed: Timed, record: Onset | Event) -> None:
        source, topics = record.source, self._topics
        facts = {
            "event_type": record.label,
            "id": record.id,
            "score": rounded(record.peak_score, 3),
            "level_dbfs": rounded(record.level_dbfs, 1),
            "laeq_db": rounded(record.laeq_db, 1),
            "start": utc_text(timed.start_utc),
        }
        if isinstance(record, Onset):
            self.set(topics.label(source, record.label), ON)
            self.set(topics.last(source), record.label)
            self._send(Message(topics.began(source), json.dumps(facts)))
            return
        self.set(topics.label(source, record.label), OFF)
        if record.end_reason != "interrupted":  # by the end of an earlier run
            facts["duration"] = rounded(timed.end_seconds - timed.start_seconds, 1)
            self._send(Message(topics.ended(source), json.dumps(facts)))

    def report(self, statistics: Statistics) -> bool:
        """Take the newest statistics; return whether levels and health were due."""
        listening = statistics.listening()
        states = (
            *listening.items(),
            *(each.state for each in statistics.sources),
            *(f"{each.source}/{each.kind}" for each in statistics.troubles),
        )
        now = self._now()
        due = now - self._reported >= self._every_seconds
        if not due and states == self._reported_states:
            return False
        self._reported, self._reported_states = now, states
        self.set(self._topics.trouble, ON if statistics.troubles else OFF)
        for each in statistics.sources:
            listens = ONLINE if listening.get(each.source) else OFFLINE
            self.set(self._topics.source_availability(each.source), listens)
            troubles = _kinds(statistics.troubles, each.source)
            self.set(self._topics.problem(each.source), ON if troubles else OFF)
            health = {
                "state": each.state,
                "problems": troubles,
                "lost_seconds": round(each.lost_samples / self._sample_rate, 1),
                "gaps": each.gaps,
                "backlog_seconds": round(each.backlog_samples / self._sample_rate, 1),
            }
            self.set(self._topics.health(each.source), json.dumps(health))
            if powers := self._levels.pop(each.source, []):
                plain, weighted = map(_mean_db, zip(*powers, strict=True))
                self.set(self._topics.level(each.source), plain)
                self.set(self._topics.laeq(each.source), weighted)
        return True

    def report_today(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Take the number of today's events, by source and label."""
        for source in self._labels:
            own = counts.get(source, {})
            facts: dict[str, Any] = {"events": sum(own.values()), "labels": dict(own)}
            self.set(self._topics.today(source), json.dumps(facts))

    def report_last(self, source: str, label: str | None) -> None:
        """Take the label of the newest stored onset: others may have been deleted.

        One that goes on may not be stored yet.
        """
        labels = (self._topics.label(source, it) for it in self._labels[source])
        if not any(self._states[topic] == ON for topic in labels):
            self.set(self._topics.last(source), label or UNKNOWN)

    def report_picture(self, source: str, png: bytes) -> None:
        """Take the spectrogram of a clip.

        It is sent once: a broker that does not take its size may end the connection.
        """
        if len(png) > MOST_PICTURE_BYTES:
            return
        message = Message(self._topics.picture(source), png, qos=0)
        with self._lock:
            self._pictures[source] = (self._now(), message)

    def stop_listening(self) -> None:
        """No source is listened to any more."""
        for source in self._labels:
            self.set(self._topics.source_availability(source), OFFLINE)

    def set(self, topic: str, state: str) -> None:
        """Set the state of a topic."""
        with self._lock:
            if self._states.get(topic) != state:
                self._states[topic] = state
                self._changed[topic] = None

    def _send(self, message: Message) -> None:
        """Have a message published once, if that is possible soon."""
        with self._lock:
            self._sounds.append((self._now(), message))

    def publish_all_again(self) -> None:
        """Have every state published: the broker may know none."""
        with self._lock:
            self._changed = dict.fromkeys(self._states)

    @property
    def unpublished(self) -> int:
        """Number of topics whose newest state is not published."""
        return len(self._changed)

    def changes(self, prefix: str) -> list[Message]:
        """Return what is to be published since the last call."""
        with self._lock:
            changed, self._changed = self._changed, {}
            states = {topic: self._states[topic] for topic in changed}
            waiting = [*self._sounds, *self._pictures.values()]
            self._sounds.clear()
            self._pictures.clear()
        messages = [
            Message(f"{prefix}{topic}", state, retain=True)
            for topic, state in states.items()
        ]
        since = self._now() - WAITING_SECONDS
        return messages + [
            replace(message, topic=f"{prefix}{message.topic}")
            for at, message in waiting
            if at >= since
        ]


def _kinds(troubles: Sequence[Trouble], source: str) -> list[str]:
    return [it.kind for it in troubles if it.source in (source, EVERY_SOURCE)]


def _mean_db(powers: Sequence[float]) -> str:
    return f"{10 * math.log10(sum(powers) / len(powers)):.1f}"
