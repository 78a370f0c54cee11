"""The sink that publishes every record for a fleet, in order, from the database."""

import contextlib
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from monitor.clock import Clock, is_plausible
from monitor.errors import StoreError, StoreUnavailableError
from monitor.records import HealthState, ScoreFrame, SourceState, Timed
from monitor.sinks.publish.digest import digest_of
from monitor.sinks.publish.queue import (
    BATCH_RECORDS,
    Position,
    Queue,
    QueuedRecord,
    deleted,
)
from monitor.sinks.publish.record import (
    MOST_SEQUENCES,
    RecordError,
    decode_wanted,
    encode_message,
)
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_client import Document
from monitor.sinks.status_snapshot import StatusTracker
from monitor.sinks.store.side_files import DiskReserve
from monitor.statistics import Statistics
from monitor.text import duration, utc_text

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
CLOSE_SECONDS = 1.0
"""Longest time for the last records when the monitor stops."""

FULL_DISK_FACTOR = 10
"""Digests are so much rarer while the disk is full."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses of a publisher, in seconds."""

    first_retry: float = 1.0
    """After the first failure; it doubles with each."""

    last_retry: float = 60.0
    health: float = 600.0
    """Time without a broker after which that is a health problem."""

    changed: float = 5.0
    """Shortest time between two digests, of which the second says that the monitor
    listens, or that it does not any more."""

    wanted: float = 10.0
    """Between two requests of collectors that are answered."""

    def retry(self, failures: int) -> float:
        """Return the pause after so many failures one after the other."""
        return min(self.first_retry * 2.0 ** min(failures, 10), self.last_retry)


class TransportError(Exception):
    """The broker cannot be reached, or does not keep what is sent; a retry may help."""


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """A record in its form on the wire."""

    key: str
    """Id by which a broker may recognise it if it is sent twice; empty: never."""

    payload: bytes


class Transport(Protocol):
    """A connection to a broker.  Used by one thread, except for `cancel`."""

    @property
    def target(self) -> str:
        """Where records go, for people; without secrets."""

    @property
    def is_connected(self) -> bool:
        """False before `open`, and when the connection is lost."""

    def open(self) -> None:
        """Connect, and subscribe to what collectors want; raise TransportError."""

    def send(self, messages: Sequence[EncodedRecord]) -> list[int]:
        """Send messages in order; return when the broker keeps them.

        Returns:
            The indices of those that are too large for it, which were not sent.

        Raises:
            TransportError: It may have some of them.
        """

    def take_wanted(self) -> list[bytes]:
        """Return what collectors have asked for since the last call."""

    def wait(self, wakeup: threading.Event, seconds: float) -> None:
        """Keep the connection until `wakeup`, or for so long."""

    def cancel(self) -> None:
        """End what another thread waits for.  Any thread."""

    def close(self) -> None:
        """Disconnect."""


class Publisher(Sink):
    """Sends the records of the database to a broker, on a thread of its own.

    Nothing is kept in memory: without a broker the records wait in the database, and
    the listening does not.
    """

    def __init__(
        self,
        monitor: str,
        database: Path,
        transport: Transport,
        digest_seconds: float,
        tracker: StatusTracker,
        clock: Clock,
        health: Callable[[HealthState, str], None],
        site: str | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        """Prepare; nothing is connected before the first `report`.

        Args:
            monitor: Id of this monitor.
            database: Path of the database, which the store creates.
            transport: Connection to the broker.
            digest_seconds: Interval of digests of the status.
            tracker: Takes snapshots of the status.
            clock: Clock of the machine.
            health: Called when nothing could be published for long, and when it can.
            site: Place or group of this monitor.
            pauses: How long it waits, and for what.
        """
        self._monitor = monitor
        self._queue = Queue(database)
        self._disk = DiskReserve(database)
        self._transport = transport
        self._digest_seconds = digest_seconds
        self._tracker = tracker
        self._clock = clock
        self._health = health
        self._site = site
        self._pauses = pauses or Pauses()
        self._thread = BackgroundThread("publish", self._run)
        self._wakeup = threading.Event()
        self._position: Position | None = None
        self._epoch, self._acknowledged = "", 0
        self._digest_due = self._change_due = 0.0
        self._digest_listening = False
        self._again: deque[tuple[str, int, int]] = deque()
        """Epoch, first and last sequence of what a collector wants again."""

        self._again_due = 0.0
        self._success = clock.monotonic()
        """Time at which all was well, monotonic seconds."""

        self._failures = 0
        self._problem: tuple[str, datetime] | None = None
        self._too_large = 0

    @property
    def document(self) -> Document:
        """The facts for the status document.  Any thread."""
        position, problem = self._position, self._problem
        pending = None
        if position is not None:
            pending = max(0, position.newest - self._acknowledged)
        return {
            "monitor": self._monitor,
            "target": self._transport.target,
            "pending": pending,
            "problem": problem and problem[0],
            "problem_since": problem and utc_text(problem[1]),
        }

    def write(self, batch: Sequence[Timed]) -> None:
        """Have the thread look into the database, but for score frames alone."""
        if any(not isinstance(it.record, ScoreFrame | SourceState) for it in batch):
            self._wakeup.set()

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics."""
        self._tracker.report(statistics)
        self._thread.keep_running()

    def close(self) -> None:
        """Send what is there, if that is soon done."""
        self._wakeup.set()
        if not self._thread.finish(CLOSE_SECONDS):
            self._transport.cancel()
            self._thread.finish(CLOSE_SECONDS)
        # After a reload, there may be no publisher any more that would do so.
        self._health("cleared", "")

    def _run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                self._wakeup.clear()
                self._turn(stop)
            self._turn(stop)
        finally:
            self._transport.close()
            self._queue.close()

    def _turn(self, stop: threading.Event) -> None:
        """Send a batch, or wait; after a failure for longer each time."""
        try:
            is_last = stop.is_set()
            if not self._step(is_last=is_last) and not is_last:
                self._transport.wait(self._wakeup, LOOK_SECONDS)
        except (TransportError, StoreError) as error:
            self._fail(str(error))
            if isinstance(error, TransportError):
                self._transport.close()
            most = self._pauses.retry(self._failures)
            # All monitors of a fleet lose their broker at once.
            stop.wait(random.uniform(most / 2, most))  # noqa: S311

    def _step(self, *, is_last: bool) -> bool:
        """Send a batch of new records, and one of what is wanted again.

        Returns:
            Whether there is more to do now.
        """
        position = self._look()
        if position is None or (is_last and not self._transport.is_connected):
            return False
        if not self._transport.is_connected:
            if not is_plausible(self._clock.utc()):
                raise TransportError("the clock of this machine is not set")
            self._transport.open()
        if self._is_digest_due() and not self._failures and not is_last:
            position = self._add_digest() or position
        first = self._acknowledged + 1
        if first <= position.newest:
            entries = self._queue.entries(position.epoch, first, position.newest)
            self._send(position.epoch, entries)
            self._acknowledged = entries[-1].sequence
        self._succeed()
        self._take_wanted(position)
        self._send_again(position)
        if is_last:
            self._queue.acknowledge(self._epoch, self._acknowledged)
        return self._acknowledged < position.newest or bool(self._again)

    def _look(self) -> Position | None:
        position = self._queue.position(self._epoch, self._acknowledged)
        if position is not None and position.epoch != self._epoch:
            self._epoch, self._acknowledged = position.epoch, position.acknowledged
            self._again.clear()
        self._position = position
        return position

    def _send(
        self, epoch: str, entries: Iterable[QueuedRecord], *, is_again: bool = False
    ) -> None:
        """Send records; those that are too large as deleted."""
        entries = list(entries)
        messages = [self._message(epoch, each, is_again=is_again) for each in entries]
        too_large = self._transport.send(messages)
        if too_large:
            self._note_too_large(entries[too_large[0]])
            smaller = [entries[index].as_deleted() for index in too_large]
            self._transport.send([self._message(epoch, each) for each in smaller])

    def _message(
        self, epoch: str, entry: QueuedRecord, *, is_again: bool = False
    ) -> EncodedRecord:
        now, monitor = self._clock.utc(), self._monitor
        try:
            payload = encode_message(
                monitor, epoch, entry.sequence, entry.type, entry.record, now
            )
        except RecordError:
            self._note_too_large(entry)
            entry = entry.as_deleted()
            payload = encode_message(
                monitor, epoch, entry.sequence, entry.type, entry.record, now
            )
        # A broker that knows it may have lost it all the same.
        key = "" if is_again else f"{monitor}/{epoch}/{entry.sequence}"
        return EncodedRecord(key, payload)

    def _note_too_large(self, entry: QueuedRecord) -> None:
        self._too_large += 1
        if self._too_large == 1:
            logger.warning(
                "a record of type %s is too large for %s and is published as deleted, "
                "as others will be",
                entry.type,
                self._transport.target,
            )

    def _take_wanted(self, position: Position) -> None:
        """Take a request of a collector, unless there is one or was just now."""
        now = self._clock.monotonic()
        for payload in self._transport.take_wanted():
            if self._again or now < self._again_due:
                continue  # it is repeated
            try:
                epoch, ranges = decode_wanted(payload)
            except RecordError as error:
                logger.debug("a request of a collector is invalid: %s", error)
                continue
            previous = position.previous or {}
            last = self._acknowledged
            if epoch != position.epoch:
                last = previous["last"] if epoch == previous.get("epoch") else 0
            left = MOST_SEQUENCES
            for begin, wanted in ranges:
                end = min(wanted, last, begin + left - 1)
                if begin <= end:
                    self._again.append((epoch, begin, end))
                    left -= end - begin + 1
            self._again_due = now + self._pauses.wanted

    def _send_again(self, position: Position) -> None:
        if not self._again:
            return
        epoch, first, last = self._again.popleft()
        if epoch == position.epoch:
            entries = self._queue.entries(epoch, first, last)
        else:  # its database is gone
            entries = deleted(first, min(last, first + BATCH_RECORDS - 1))
        self._send(epoch, entries, is_again=True)
        if entries[-1].sequence < last:
            self._again.appendleft((epoch, entries[-1].sequence + 1, last))

    def _is_digest_due(self) -> bool:
        now = self._clock.monotonic()
        has_changed = self._tracker.is_listening != self._digest_listening
        return now >= self._digest_due or (has_changed and now >= self._change_due)

    def _add_digest(self) -> Position | None:
        """Put a digest into the queue, once the sources are known."""
        clock = self._clock.utc()
        digest = digest_of(self._tracker, clock, self._site)
        if not digest["sources"]:
            return None
        # The space that is reserved is for onsets and events.
        seldom = FULL_DISK_FACTOR if self._disk.is_almost_full else 1
        now = self._clock.monotonic()
        self._digest_due = now + seldom * self._digest_seconds
        self._change_due = now + seldom * self._pauses.changed
        self._digest_listening = digest["listening"]
        with contextlib.suppress(StoreUnavailableError):  # the next one may fit
            self._queue.add_digest(digest, clock)
        return self._look()

    def _succeed(self) -> None:
        now = self._clock.monotonic()
        if self._problem is not None:
            logger.info(
                "%s takes records again, after %s",
                self._transport.target,
                duration(now - self._success),
            )
            self._health("cleared", "")
        self._success, self._failures, self._problem = now, 0, None

    def _fail(self, problem: str) -> None:
        since = self._clock.utc() if self._problem is None else self._problem[1]
        if self._problem is None:
            logger.warning(
                "%s: nothing is published: %s; the records wait in the database",
                self._transport.target,
                problem,
            )
        self._failures += 1
        self._problem = problem, since
        silent = self._clock.monotonic() - self._success
        if silent >= self._pauses.health:
            self._health("raised", f"not published for {duration(silent)}: {problem}")
