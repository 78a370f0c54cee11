"""The states of labels and sources, on an MQTT broker."""

import contextlib
import json
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monitor.config.outputs import MqttSettings
from monitor.records import EVERY_SOURCE, Event, Onset, ScoreFrame, Timed
from monitor.sinks.mqtt.connection import (
    CONNECT_SECONDS,
    BrokerConnection,
    BrokerError,
    Message,
)
from monitor.sinks.mqtt.discovery import (
    OFF,
    OFFLINE,
    ON,
    ONLINE,
    Topics,
    discovery,
    discovery_topic,
)
from monitor.sinks.mqtt.installation import (
    CLAIM_SECONDS,
    FILE,
    Installation,
    Retained,
    claim_prefix,
    read_installation,
    write_installation,
)
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

Description = dict[str, dict[str, Any]]
"""Descriptions of the sources for Home Assistant, by topic."""

POLL_SECONDS = 0.05
"""Longest time from a change to its publication."""

RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 60.0
"""Pause after the first and after many failed tries to claim the topic."""

STEADY_SECONDS = 10.0
"""A connection that lasts for so long has ended the trouble."""

SHORT_CONNECTIONS = 10
"""So many that do not last hardly have their reason in the network."""

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
        labels: Mapping[str, Sequence[str]],
        *,
        model: str,
        sample_rate: int,
        state_dir: Path,
        now: Callable[[], float],
        environ: Mapping[str, str],
        claim_seconds: float = CLAIM_SECONDS,
    ) -> None:
        """Read secrets; nothing is connected or written before the first `report`.

        Args:
            settings: Settings of the section.
            labels: By source, the labels that are reported.
            model: Name of the model.
            sample_rate: Samples a second, of the statistics.
            state_dir: Folder for the file of the installation.
            now: A monotonic clock.
            environ: Environment variables of the process, for secrets.
            claim_seconds: See `claim_prefix`.

        Raises:
            ConfigError: A secret or a file is missing or of the wrong form.
        """
        self._settings = settings
        self._labels = labels
        self._model = model
        self._sample_rate = sample_rate
        self._state_dir = state_dir
        self._now = now
        self._claim_seconds = claim_seconds
        self._connection = BrokerConnection(settings, "mqtt", environ)
        self._thread = BackgroundThread("mqtt", self._run)
        self._lock = threading.Lock()
        self._topics = Topics("")
        """The names of the states; the prefix is known once it is claimed."""

        self._states: dict[str, str] = {
            self._topics.label(source, label): OFF
            for source, own in labels.items()
            for label in own
        }
        self._changed: dict[str, None] = {}
        self._powers: dict[str, list[float]] = {}
        self._reported = -math.inf
        self._reported_states: tuple[object, ...] = ()
        self._has_failed = self._has_lost_file = False
        self._connected_at = -math.inf
        self._suspicious: float = SHORT_CONNECTIONS
        """Number of connections that is suspicious, if none of them is steady."""

        self._served = 0
        """The number of the newest connection that has got everything."""

        self._is_settled = False
        """The broker has removed what an earlier run has left there."""

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
        installation = self._claim(stop)
        if installation is None:
            return
        connection, topics = self._connection, Topics(installation.prefix)
        offline = Message(topics.availability, OFFLINE, retain=True)
        described = self._describe(topics, installation.id)
        retained = self._retained(topics, described)
        # Written before they are published, so that no topic is forgotten.
        both = replace(installation, retained={**installation.retained, **retained})
        if not self._write(both):
            described = {}
        connection.start(offline)
        while not stop.wait(POLL_SECONDS):
            if not connection.is_connected:
                self._warn(connection.problem)
            elif connection.unacknowledged:
                # Also after a reconnect: paho sends again what the broker before did
                # not acknowledge, and all states follow it.
                continue
            elif connection.connections != self._served:
                served = connection.connections
                if not self._is_settled:
                    connection.publish(_farewells(installation, retained, described))
                connection.publish(self._all_messages(topics, installation, described))
                self._log_connected()
                self._served = served
            elif not self._is_settled:
                self._is_settled = True
                self._write(replace(installation, retained=retained))
            else:
                connection.publish(self._changes(topics))
                self._log_steady()
        if connection.is_connected:
            self._leave(topics, offline)
        connection.close()

    def _leave(self, topics: Topics, offline: Message) -> None:
        """Publish that nothing is listened to any more."""
        for source in self._labels:
            self._set(self._topics.source_availability(source), OFFLINE)
        self._connection.publish([*self._changes(topics), offline])
        with contextlib.suppress(BrokerError):
            self._connection.wait_acknowledged(CLOSE_SECONDS)

    def _claim(self, stop: threading.Event) -> Installation | None:
        """Find out the prefix of the topics; None: the end came first."""
        found = read_installation(self._state_dir)
        topic, connection = self._settings.topic, self._connection
        # Always the same, so that the broker publishes the will of a broken connection
        # before it accepts the next.
        connection.client_id = f"{topic.replace('/', '-')}-{found.id}"
        pause = RETRY_SECONDS
        while not stop.is_set():
            try:
                connection.open(CONNECT_SECONDS)
                prefix, seconds = self._settings.discovery_prefix, self._claim_seconds
                return claim_prefix(found, topic, prefix, connection, seconds)
            except BrokerError as error:
                self._warn(str(error))
            finally:
                connection.close()
            stop.wait(pause)
            pause = min(2 * pause, MAX_RETRY_SECONDS)
        return None

    def _describe(self, topics: Topics, installation: str) -> Description:
        """Describe the sources to Home Assistant."""
        prefix = self._settings.discovery_prefix
        if prefix is None:
            return {}
        return {
            discovery_topic(prefix, installation, source): discovery(
                topics, installation, self._model, source, labels
            )
            for source, labels in self._labels.items()
        }

    def _retained(self, topics: Topics, described: Description) -> Retained:
        """Return all topics that this configuration keeps on the broker."""
        states = [topics.installation, topics.availability]
        for source, labels in self._labels.items():
            states += topics.of(source, labels)
        components = {
            topic: {key: facts["p"] for key, facts in description["cmps"].items()}
            for topic, description in described.items()
        }
        return {topic: {} for topic in states} | components

    def _write(self, installation: Installation) -> bool:
        try:
            write_installation(self._state_dir, installation)
        except OSError as error:
            if not self._has_lost_file:
                logger.warning(
                    "%s cannot be written, so nothing is described to Home Assistant: "
                    "%s",
                    self._state_dir / FILE,
                    error.strerror,
                )
            self._has_lost_file = True
            return False
        return True

    def _all_messages(
        self, topics: Topics, installation: Installation, described: Description
    ) -> list[Message]:
        """Discovery and all states, and then that the monitor is online."""
        with self._lock:
            self._changed = dict.fromkeys(self._states)
        return [
            Message(topics.installation, installation.id, retain=True),
            *(_json(topic, facts) for topic, facts in described.items()),
            *self._changes(topics),
            Message(topics.availability, ONLINE, retain=True),
        ]

    def _changes(self, topics: Topics) -> list[Message]:
        """Return the newest states of the topics that changed since the last call."""
        with self._lock:
            changed, self._changed = self._changed, {}
            return [
                Message(f"{topics.prefix}{topic}", self._states[topic], retain=True)
                for topic in changed
            ]

    def _log_connected(self) -> None:
        """Log a new connection; after a failure, `_log_steady` does."""
        self._connected_at = self._now()
        if not self._has_failed:
            logger.info("states are published to %s", self._connection.target)

    def _log_steady(self) -> None:
        """Log that a failure is over, once the connection has lasted for a while."""
        if self._has_failed and self._now() - self._connected_at >= STEADY_SECONDS:
            logger.info("states are published to %s again", self._connection.target)
            self._has_failed = False
            self._suspicious = self._connection.connections + SHORT_CONNECTIONS

    def _warn(self, problem: str) -> None:
        if problem and not self._has_failed:
            self._has_failed = True
            logger.warning("no states are published: %s; trying again", problem)
        if self._connection.connections >= self._suspicious:
            self._suspicious = math.inf
            logger.warning(
                "%s accepts each connection and soon closes it: if another monitor has "
                "a copy of %s, delete that there",
                self._connection.target,
                self._state_dir / FILE,
            )


def _farewells(
    installation: Installation, retained: Retained, described: Description
) -> list[Message]:
    """Remove what an earlier configuration or model has left on the broker."""
    messages = [
        Message(topic, "", retain=True)
        for topic in installation.retained
        if topic not in retained
    ]
    for topic, description in described.items():
        before = installation.retained.get(topic, {}).items()
        # Home Assistant removes a component of which only the platform is left.
        gone = {k: {"p": p} for k, p in before if k not in description["cmps"]}
        if gone:
            components = {**description["cmps"], **gone}
            messages.append(_json(topic, {**description, "cmps": components}))
    return messages


def _json(topic: str, facts: Mapping[str, Any]) -> Message:
    return Message(topic, json.dumps(facts), retain=True)
