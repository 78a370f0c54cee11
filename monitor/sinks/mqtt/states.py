"""The states of labels and sources, on an MQTT broker."""

import contextlib
import json
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.clock import Clock
from monitor.config.outputs import MqttSettings
from monitor.errors import StoreError
from monitor.records import Timed
from monitor.sinks.mqtt.connection import (
    CONNECT_SECONDS,
    BrokerConnection,
    BrokerError,
    Message,
)
from monitor.sinks.mqtt.discovery import (
    Described,
    describe_monitor,
    describe_source,
    discovery_topic,
    every_label,
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
from monitor.sinks.mqtt.requests import RejectedRequests, Requests, WaitingRequests
from monitor.sinks.mqtt.source_states import SourceStates
from monitor.sinks.mqtt.topics import OFFLINE, ONLINE, Topics
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_client import Document
from monitor.sinks.store.queries import open_to_read
from monitor.statistics import Statistics
from monitor.text import utc_text

logger = logging.getLogger(__name__)

Description = dict[str, dict[str, Any]]
"""Descriptions of the monitor and its sources for Home Assistant, by topic."""

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
        described: Described,
        requests: Requests,
        *,
        sample_rate: int,
        state_dir: Path,
        database: Path | None,
        clock: Clock,
        environ: Mapping[str, str],
        claim_seconds: float = CLAIM_SECONDS,
    ) -> None:
        """Read secrets; nothing is connected or written before the first `report`.

        Args:
            settings: Settings of the section.
            described: What is described to Home Assistant; the id of the installation
                is filled in.
            requests: Does what subscribers ask for.
            sample_rate: Samples a second, of the statistics.
            state_dir: Folder for the file of the installation.
            database: Database whose events of the day are counted; None: none are.
            clock: The time.
            environ: Environment variables of the process, for secrets.
            claim_seconds: See `claim_prefix`.

        Raises:
            ConfigError: A secret or a file is missing or of the wrong form.
        """
        self._settings = settings
        self._described = described
        self._requests = requests
        self._state_dir = state_dir
        self._database = database
        self._clock = clock
        self._claim_seconds = claim_seconds
        self._connection = BrokerConnection(settings, "mqtt", environ)
        self._thread = BackgroundThread("mqtt", self._run)
        self._states = SourceStates(
            described.labels, sample_rate, settings.every_seconds, clock.monotonic
        )
        if "sensitivity" in requests.allowed:  # a change reloads: they stay as they are
            for label, value in requests.sensitivities.items():
                self._states.set(Topics("").sensitivity(label), f"{value:g}")
        self._has_reported = threading.Event()
        """Levels and health were due: the day's events are to be counted."""

        self._has_failed = self._has_lost_file = False
        self._problem: tuple[str, datetime] | None = None
        """Why there is no connection, and since when."""

        self._connected_at = -math.inf
        self._suspicious: float = SHORT_CONNECTIONS
        """Number of connections that is suspicious, if none of them is steady."""

        self._is_closed = False
        """The thread did not end in time: what it does now is to be over soon."""

        self._rejected = RejectedRequests()
        self._served = 0
        """The number of the newest connection that has got everything."""

        self._is_settled = False
        """The broker has removed what an earlier run has left there."""

    def write(self, batch: Sequence[Timed]) -> None:
        """Take records."""
        self._states.write(batch)

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics."""
        self._thread.keep_running()
        if self._states.report(statistics):
            self._has_reported.set()

    def show_picture(self, source: str, file: Path) -> None:
        """Publish the spectrogram of a clip that was stored.  Any thread."""
        with contextlib.suppress(OSError):  # it was deleted at once
            self._states.report_picture(source, file.read_bytes())

    @property
    def queues(self) -> dict[str, int]:
        """Topics whose newest state is not published yet."""
        return {"mqtt-states": self._states.unpublished}

    @property
    def document(self) -> Document:
        """The facts for the status document.  Any thread."""
        problem = self._problem
        return {
            "target": self._connection.target,
            "connected": problem is None and self._served > 0,
            "problem": problem and problem[0],
            "problem_since": problem and utc_text(problem[1]),
        }

    def close(self) -> None:
        """Publish the last states and that the monitor is offline, if that is quick.

        After it, nothing more is asked of the monitor, and the broker has no connection
        that would replace that of a successor.
        """
        if not self._thread.finish(CLOSE_SECONDS):
            self._is_closed = True
            self._connection.leave()

    def _run(self, stop: threading.Event) -> None:
        installation = self._claim(stop)
        if installation is None or stop.is_set():
            return
        connection, topics = self._connection, Topics(installation.prefix)
        offline = Message(topics.availability, OFFLINE, retain=True)
        described = self._describe(topics, installation.id)
        retained = self._retained(topics, described)
        # Written before they are published, so that no topic is forgotten.
        both = replace(installation, retained={**installation.retained, **retained})
        if not self._write(both):
            described = {}
        requests = topics.every_request if self._settings.may_change else ()
        holds = Message(topics.installation, installation.id, qos=0)
        waiting = WaitingRequests(self._requests, topics)
        replies = {topics.who_holds: holds}
        connection.start(offline, requests, replies, waiting.add)
        while not stop.wait(POLL_SECONDS):
            self._take_requests(waiting)
            self._count_today()
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
                connection.publish(self._states.changes(topics.prefix))
                self._log_steady()
        self._end(topics, offline, waiting)

    def _end(self, topics: Topics, offline: Message, waiting: WaitingRequests) -> None:
        """Publish the end, disconnect, and do what was asked for before it."""
        if self._connection.is_connected and not self._is_closed:
            self._leave(topics, offline)
        self._connection.close()
        self._take_requests(waiting)
        self._rejected.flush(math.inf)
        if waiting:
            logger.warning(
                "requests for %d things came at the end and changed nothing",
                len(waiting),
            )

    def _take_requests(self, waiting: WaitingRequests) -> None:
        """Do what was asked for, and publish what may be asked for as it is now."""
        now = self._clock.monotonic()
        waiting.do_each(self._rejected, now, lambda: self._is_closed)
        self._rejected.flush(now)
        if (mute := self._requests.mute) is not None:
            self._states.set(Topics("").mute, mute)

    def _count_today(self) -> None:
        """Read the events of the day and the last, as often as levels are due."""
        if self._database is None or not self._has_reported.is_set():
            return
        self._has_reported.clear()
        local = self._clock.utc().astimezone()
        midnight = datetime(local.year, local.month, local.day).astimezone()
        # It does not exist before the first record; the next count may be possible.
        with contextlib.suppress(StoreError), open_to_read(self._database) as reader:
            self._states.report_today(reader.event_counts(midnight))
            for source in self._described.labels:
                self._states.report_last(source, reader.newest_label(source))

    def _leave(self, topics: Topics, offline: Message) -> None:
        """Publish that nothing is listened to any more."""
        self._states.stop_listening()
        self._connection.publish([*self._states.changes(topics.prefix), offline])
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
                if stop.is_set():
                    break
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
        """Describe the monitor and its sources to Home Assistant."""
        prefix = self._settings.discovery_prefix
        if prefix is None:
            return {}
        described = replace(self._described, installation=installation)
        monitor = discovery_topic(prefix, installation)
        sources = {
            discovery_topic(prefix, installation, source): describe_source(
                topics, described, source
            )
            for source in described.labels
        }
        return {monitor: describe_monitor(topics, described), **sources}

    def _retained(self, topics: Topics, described: Description) -> Retained:
        """Return all topics that this configuration keeps on the broker."""
        labels = self._described.labels
        states = topics.of_monitor(every_label(labels))
        for source, own in labels.items():
            states += topics.of(source, own)
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
        self._states.publish_all_again()
        return [
            Message(topics.installation, installation.id, retain=True),
            *(_json(topic, facts) for topic, facts in described.items()),
            *self._states.changes(topics.prefix),
            Message(topics.availability, ONLINE, retain=True),
        ]

    def _log_connected(self) -> None:
        """Log a new connection; after a failure, `_log_steady` does."""
        self._connected_at = self._clock.monotonic()
        self._problem = None
        if not self._has_failed:
            logger.info("states are published to %s", self._connection.target)

    def _log_steady(self) -> None:
        """Log that a failure is over, once the connection has lasted for a while."""
        if (
            self._has_failed
            and self._clock.monotonic() - self._connected_at >= STEADY_SECONDS
        ):
            logger.info("states are published to %s again", self._connection.target)
            self._has_failed = False
            self._suspicious = self._connection.connections + SHORT_CONNECTIONS

    def _warn(self, problem: str) -> None:
        if problem:
            _, since = self._problem or ("", self._clock.utc())
            self._problem = problem, since
        if problem and not self._has_failed:
            self._has_failed = True
            logger.warning("no states are published: %s; trying again", problem)
        if self._connection.connections >= self._suspicious:
            self._suspicious = math.inf
            logger.warning(
                "%s accepts each connection and soon closes it: a message may be too "
                "large for it, or another monitor has a copy of %s: delete that there",
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
