"""The states of what is heard, on an MQTT broker."""

import json
import logging
import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence

from monitor.config.outputs import MqttSettings
from monitor.records import EVERY_SOURCE, Event, Onset, ScoreFrame, Timed
from monitor.sinks.mqtt.connection import BrokerError, Connection, Message
from monitor.sinks.mqtt.discovery import OFF, OFFLINE, ON, ONLINE, Topics, discovery
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

OPEN_SECONDS = 10.0
TURN_SECONDS = 0.05
"""Longest time that a state waits before it is published."""

LAST_SECONDS = 0.4
"""Time at the end for the last states, and for saying goodbye."""

LONGEST_BACK_OFF_SECONDS = 60.0


class MqttStates(Sink):
    """Keeps the topics of a broker as the monitor hears it.

    Only the newest state of a topic is in memory, however long the broker is away; when
    it is back, it gets all of them.  States are retained, so whoever subscribes later
    knows them too.  If the monitor dies, the broker says that it is offline.
    """

    def __init__(
        self,
        settings: MqttSettings,
        sources: Sequence[str],
        labels: Sequence[str],
        *,
        sample_rate: int,
        now: Callable[[], float],
        environ: Mapping[str, str],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Read secrets; nothing is connected before the first `report`.

        Args:
            settings: Its section; it has a host.
            sources: Names of all sources.
            labels: Of the model.
            sample_rate: Of the positions in records.
            now: Monotonic seconds.
            environ: Of the process, for secrets.
            draw: A random number in [0, 1), for the jitter.

        Raises:
            ConfigError: A secret or a file is missing or of the wrong form.
        """
        self._settings = settings
        self._sources = sources
        self._labels = labels
        self._sample_rate = sample_rate
        self._now = now
        self._draw = draw
        self._topics = Topics(settings.topic)
        self._offline = Message(self._topics.availability, OFFLINE, retain=True)
        self._connection = Connection(
            settings,
            "mqtt",
            environ,
            # One that does not change: else the will of a connection that broke could
            # be told after the next one was opened.
            client_id=settings.topic.replace("/", "-"),
            will=self._offline,
        )
        self._background = BackgroundThread("mqtt", self._run)
        self._lock = threading.Lock()
        self._states: dict[str, str] = {
            self._topics.label(source, label): OFF
            for source in sources
            for label in labels
        }
        self._changed: dict[str, None] = {}
        self._powers: dict[str, list[float]] = {}
        self._told = -math.inf
        self._told_states: tuple[object, ...] = ()
        self._failures = 0

    def write(self, batch: Sequence[Timed]) -> None:
        """Take records."""
        for timed in batch:
            record = timed.record
            if isinstance(record, ScoreFrame):
                powers = self._powers.setdefault(record.source, [])
                powers.append(10 ** (record.level_dbfs / 10))
            elif isinstance(record, (Onset, Event)):
                state = ON if isinstance(record, Onset) else OFF
                self._set(self._topics.label(record.source, record.label), state)

    def report(self, statistics: Statistics) -> None:
        """Learn how the monitor is doing."""
        self._background.keep_running()
        listening = statistics.listening()
        states = (
            *listening.items(),
            *(each.state for each in statistics.sources),
            *(f"{each.source}/{each.kind}" for each in statistics.troubles),
        )
        now = self._now()
        due = now - self._told >= self._settings.every_seconds
        if not due and states == self._told_states:
            return
        self._told, self._told_states = now, states
        for each in statistics.sources:
            listens = ONLINE if listening.get(each.source) else OFFLINE
            self._set(self._topics.source_availability(each.source), listens)
            troubles = [
                trouble.kind
                for trouble in statistics.troubles
                if trouble.source in (each.source, EVERY_SOURCE)
            ]
            self._set(self._topics.problem(each.source), ON if troubles else OFF)
            health = {
                "state": each.state,
                "problems": troubles,
                "lost_seconds": round(each.lost_samples / self._sample_rate, 1),
                "gaps": each.gaps,
                "backlog_seconds": round(each.backlog_samples / self._sample_rate, 1),
            }
            self._set(self._topics.health(each.source), json.dumps(health))
            powers = self._powers.pop(each.source, [])
            if powers:
                level = 10 * math.log10(sum(powers) / len(powers))
                self._set(self._topics.level(each.source), f"{level:.1f}")

    @property
    def queues(self) -> dict[str, int]:
        """Topics whose newest state is not published yet."""
        return {"mqtt-states": len(self._changed)}

    def close(self) -> None:
        """Publish the last states and that the monitor is offline, if that is quick."""
        self._background.finish(LAST_SECONDS)

    def _set(self, topic: str, state: str) -> None:
        with self._lock:
            if self._states.get(topic) != state:
                self._states[topic] = state
                self._changed[topic] = None

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._connection.open(OPEN_SECONDS)
                self._serve(stop)
            except BrokerError as error:
                if not stop.is_set():
                    stop.wait(self._fail(error))
            finally:
                self._connection.close()

    def _serve(self, stop: threading.Event) -> None:
        """Publish everything, then what changes, until `stop`."""
        for message in discovery(self._settings, self._sources, self._labels):
            self._connection.publish(message)
        with self._lock:
            self._changed = dict.fromkeys(self._states)
        self._publish_changes()
        self._connection.publish(
            Message(self._topics.availability, ONLINE, retain=True)
        )
        self._connection.flush(OPEN_SECONDS)
        self._succeed()
        while not stop.is_set():
            self._publish_changes()
            self._connection.turn(TURN_SECONDS)
        self._publish_changes()
        self._connection.publish(self._offline)
        self._connection.flush(LAST_SECONDS)

    def _publish_changes(self) -> None:
        with self._lock:
            changed = {topic: self._states[topic] for topic in self._changed}
            self._changed = {}
        for topic, state in changed.items():
            self._connection.publish(Message(topic, state, retain=True))

    def _succeed(self) -> None:
        if self._failures:
            logger.info(
                "states are published to %s again, after %d failed attempts",
                self._connection.target,
                self._failures,
            )
        else:
            logger.info("states are published to %s", self._connection.target)
        self._failures = 0

    def _fail(self, error: BrokerError) -> float:
        """Say the first failure in a row; return the seconds until the next attempt."""
        if not self._failures:
            logger.warning("no states are published: %s; trying again", error)
        self._failures += 1
        doubled = 2.0 ** min(self._failures - 1, 10)
        return max(0.2, self._draw()) * min(LONGEST_BACK_OFF_SECONDS, doubled)
