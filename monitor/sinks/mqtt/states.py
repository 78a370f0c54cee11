"""The states of labels and sources, on an MQTT broker."""

import contextlib
import json
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence

from monitor.config.outputs import MqttSettings
from monitor.records import EVERY_SOURCE, Event, Onset, ScoreFrame, Timed
from monitor.sinks.mqtt.connection import BrokerConnection, BrokerError, Message
from monitor.sinks.mqtt.discovery import OFF, OFFLINE, ON, ONLINE, Topics, discovery
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""Longest time from a change to its publication."""

CLOSE_SECONDS = 0.4
"""Time at the end for the last states."""


class MqttStates(Sink):
    """Keeps the topics of a broker up to date.

    Only the newest state of a topic is in memory, however long the broker is away; when
    it is back, it gets all of them.  States are retained, so later subscribers get them
    too.  If the monitor dies, the broker publishes that it is offline.
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
    ) -> None:
        """Read secrets; nothing is connected before the first `report`.

        Raises:
            ConfigError: A secret or a file is missing or of the wrong form.
        """
        self._settings = settings
        self._sources = sources
        self._labels = labels
        self._sample_rate = sample_rate
        self._now = now
        self._topics = Topics(settings.topic)
        self._offline = Message(self._topics.availability, OFFLINE, retain=True)
        self._connection = BrokerConnection(
            settings,
            "mqtt",
            environ,
            # Always the same, so that the broker publishes the will of a broken
            # connection before it accepts the next.
            client_id=settings.topic.replace("/", "-"),
            will=self._offline,
        )
        self._thread = BackgroundThread("mqtt", self._run)
        self._lock = threading.Lock()
        self._states: dict[str, str] = {
            self._topics.label(source, label): OFF
            for source in sources
            for label in labels
        }
        self._changed: dict[str, None] = {}
        self._powers: dict[str, list[float]] = {}
        self._reported = -math.inf
        self._reported_states: tuple[object, ...] = ()
        self._has_failed = False

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
        """Take the newest statistics."""
        self._thread.keep_running()
        listening = statistics.listening()
        states = (
            *listening.items(),
            *(each.state for each in statistics.sources),
            *(f"{each.source}/{each.kind}" for each in statistics.troubles),
        )
        now = self._now()
        due = now - self._reported >= self._settings.every_seconds
        if not due and states == self._reported_states:
            return
        self._reported, self._reported_states = now, states
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
        self._thread.finish(CLOSE_SECONDS)

    def _set(self, topic: str, state: str) -> None:
        with self._lock:
            if self._states.get(topic) != state:
                self._states[topic] = state
                self._changed[topic] = None

    def _run(self, stop: threading.Event) -> None:
        connection, served = self._connection, 0
        connection.start()
        while not stop.wait(POLL_SECONDS):
            if not connection.is_connected:
                self._warn(connection.problem)
            elif connection.unacknowledged:
                # Also after a reconnect: paho sends again what the broker before did
                # not acknowledge, and all states follow it.
                continue
            elif connection.connections != served:
                served = connection.connections
                connection.publish(self._all_messages())
                self._log_connected()
            else:
                connection.publish(self._changes())
        if connection.is_connected:
            connection.publish([*self._changes(), self._offline])
            with contextlib.suppress(BrokerError):
                connection.wait_acknowledged(CLOSE_SECONDS)
        connection.close()

    def _all_messages(self) -> list[Message]:
        """Discovery and all states, and then that the monitor is online."""
        with self._lock:
            self._changed = dict.fromkeys(self._states)
        return [
            *discovery(self._settings, self._sources, self._labels),
            *self._changes(),
            Message(self._topics.availability, ONLINE, retain=True),
        ]

    def _changes(self) -> list[Message]:
        """The newest states of the topics that changed since the last call."""
        with self._lock:
            changed, self._changed = self._changed, {}
            return [
                Message(topic, self._states[topic], retain=True) for topic in changed
            ]

    def _log_connected(self) -> None:
        again = " again" if self._has_failed else ""
        logger.info("states are published to %s%s", self._connection.target, again)
        self._has_failed = False

    def _warn(self, problem: str) -> None:
        if problem and not self._has_failed:
            self._has_failed = True
            logger.warning("no states are published: %s; trying again", problem)
