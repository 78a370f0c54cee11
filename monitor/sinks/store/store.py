"""The sink that keeps records in a database, with the alerts that they cause."""

import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from monitor.clock import Clock
from monitor.config.outputs import StoreSettings
from monitor.errors import StoreUnavailableError
from monitor.records import HealthState, ScoreFrame, SourceState, Timed
from monitor.sinks.alerts.alert import AlertRules
from monitor.sinks.sink import Sink
from monitor.sinks.store.database import Database
from monitor.sinks.store.embeddings import EmbeddingLog
from monitor.sinks.store.forget import Forgetting
from monitor.sinks.store.level_hours import LevelHourLog
from monitor.sinks.store.maintenance import Maintenance
from monitor.sinks.store.records import (
    Session,
    from_ms,
    interrupted_records,
    read_rule_state,
    to_ms,
    write_rule_state,
)
from monitor.sinks.store.scores import ScoreLog
from monitor.sinks.store.writer import (
    FAILING_LOCK_SECONDS,
    Backlog,
    RetryTimer,
    Writer,
)
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

T = TypeVar("T")

MEMORY_RECORDS = 10_000
FLUSH_SECONDS = 10.0
"""Longest time that scores, and embeddings of a whole minute, wait in memory."""

MEND_SECONDS = 60.0
"""Pause between attempts to set a damaged file aside, and time for which it is said."""


class Store(Sink):
    """Writes onsets, events, gaps, health, alerts and scores to a database.

    All records but scores are on the disk when `write` returns: one transaction,
    synced.  So the store stands before every other sink.

    Scores wait in memory for up to `FLUSH_SECONDS` and are committed together, and not
    synced for their own sake: a row for every hop would wear out a flash card.  A kill
    costs the scores of those seconds, a power failure those since the last checkpoint
    or event.  They are not committed with events: of many sources, one or another has
    an event all the time, and each time the rows of all would be written.  The levels
    of an hour are written with scores, about once a minute.

    While the disk is full, records and alerts go into space that was reserved for them.
    When that is used up, or the database cannot be written at all, the newest records,
    alerts and scores wait in memory.  That is logged once, and counted.

    It may be made on another thread than the one that uses it.
    """

    def __init__(
        self,
        path: Path,
        settings: StoreSettings,
        session: Session,
        clock: Clock,
        *,
        rules: AlertRules | None = None,
        committed: Callable[[], None] = lambda: None,
        damage: Callable[[], Exception | None] = lambda: None,
        health: Callable[[HealthState, str], None] = lambda _state, _detail: None,
        forgotten: Callable[
            [datetime | None, datetime], None
        ] = lambda _since, _until: None,
        memory_records: int = MEMORY_RECORDS,
        before: "Store | None" = None,
    ) -> None:
        """Open the database; if that fails, log it and try again later.

        Sounds that were going on when a monitor was killed end as interrupted.

        Args:
            path: The file; its folder is created.
            settings: Limits of age and size.
            session: This run.
            clock: Clock of the machine.
            rules: Make alerts, which are committed with the records they follow from.
            committed: Called after a commit with alerts.
            damage: Returns the damage that a reader of the database ran into, if any.
            health: Called when a damaged database was set aside, and when that is over.
            forgotten: Called with the time range that the user has deleted; None: from
                the beginning.
            memory_records: Onsets, events, gaps and, apart from them, alerts that are
                kept in memory while the database cannot be written.
            before: The store of this file until now, which is closed.  Within a
                session, what it could not write is written by this one.

        Raises:
            StoreError: Another monitor writes to it, or a newer version wrote it.
        """
        self._writer = Writer(path, session, clock)
        self._session = session
        self._clock = clock
        self._rules = rules
        self._committed = committed
        self._damage = damage
        self._health = health
        self._forgotten = forgotten
        self._forgetting = Forgetting()
        self._has_offered = False
        self._incident: str | None = None
        self._mend_at = self._healthy_at = 0.0
        self._backlog = Backlog(memory_records)
        self._has_recovered = False
        self._recovered: list[Timed] = []
        self._has_run_rules = False
        self._scores = ScoreLog()
        self._levels = LevelHourLog()
        self._keeps_embeddings = settings.embeddings
        self._embeddings = EmbeddingLog()
        self._rule_state = ""
        self._flushed = clock.monotonic()
        self._maintenance = Maintenance(self._writer, settings, clock)
        self._retry = RetryTimer()
        if before is not None:
            self._maintenance.take_over(before._maintenance)
            if before._session == session:
                self._take_over(before)
        self._commit()

    @property
    def database(self) -> Database:
        """The file, for readers and for the outbox."""
        return self._writer.database

    @property
    def queues(self) -> dict[str, int]:
        """Records, alerts and score frames that are not written yet.  Any thread."""
        return {
            "store-records": len(self._backlog.records),
            "store-alerts": len(self._backlog.alerts),
            "store-frames": self._scores.pending_frames,
        }

    @property
    def is_failing(self) -> bool:
        """True if not all can be written: it failed, or needs space.  Any thread."""
        return self._retry.is_failing or self._writer.disk.is_almost_full

    def is_forgotten(self, timed: Timed) -> bool:
        """Return True if the beginning of what ends now was deleted by the user."""
        return self._forgetting.covers(timed)

    def take_recovered(self) -> list[Timed]:
        """Return, once each, the events that ended because a monitor was killed."""
        found, self._recovered = self._recovered, []
        return found

    def write(self, batch: Sequence[Timed]) -> None:
        """Store the batch, and the alerts that follow from it; one transaction."""
        now = self._clock.utc()
        batch = [timed for timed in batch if not self.is_forgotten(timed)]
        for timed in batch:
            reported = timed.reported_utc or now
            start = reported if timed.start_utc is None else timed.start_utc
            self._forgetting.follow(timed, to_ms(start))
            if isinstance(timed.record, ScoreFrame):
                self._scores.add(timed)
                self._levels.add(timed)
                if self._keeps_embeddings:
                    self._embeddings.add(timed)
            elif not isinstance(timed.record, SourceState):
                self._backlog.records.append((timed, to_ms(reported)))
        if self._rules is not None:
            self._has_run_rules = True
            # What waited for the disk keeps its time: cooldowns go by it.
            for at, group in groupby(batch, lambda timed: timed.reported_utc or now):
                self._backlog.alerts.extend(self._rules.step(list(group), at))
        self._commit_if_due()

    def report(self, _: Statistics) -> None:
        """Let time pass: for the rules, for pending records, and for old ones."""
        if self._rules is not None:
            self._has_run_rules = True
            self._backlog.alerts.extend(self._rules.tick(self._clock.utc()))
        self._writer.hold_lock()
        self._mend()
        self._commit_if_due()
        if not self._retry.is_failing:
            self._maintenance.run_if_due()

    def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as a transaction of its own; it is on the disk when this returns.

        Raises:
            StoreError: What `work` raises; nothing of it is written.
            StoreBusyError: Another program locks the database: try it again, after a
                pause in which others can use this thread.
            StoreUnavailableError: The database cannot be written now.
        """
        return self._writer.write(
            lambda connection, _: work(connection),
            synced=True,
            lock_seconds=FAILING_LOCK_SECONDS,
        )

    def store_rules(self) -> bool:
        """Write the memory of the rules now; return whether that succeeded."""
        self._commit(scores=False)
        return not self._retry.is_failing

    def reopen(self) -> None:
        """Open the file at the path, after the one that was open was moved away."""
        self._writer.disconnect()
        self._commit()

    def close(self) -> None:
        """Write pending records, or log how many are not stored; close the database."""
        self._commit(ends=True)
        if self._retry.is_failing:
            logger.error(
                "database %s: %d records, %d alerts and %d score frames could not be "
                "stored",
                self.database.path,
                *self.queues.values(),
            )
        self._writer.close()

    def _take_over(self, before: "Store") -> None:
        self._backlog, self._scores = before._backlog, before._scores
        self._embeddings, self._levels = before._embeddings, before._levels
        self._forgetting = before._forgetting
        self._retry = before._retry
        if self._rules is not None and before._rules is not None:
            # The database does not have the state of a commit that failed.
            self._rules.restore(before._rules.state())
            self._has_run_rules = True

    def _mend(self) -> None:
        """Set a file aside that readers found damaged; report what was done."""
        now, damage = self._clock.monotonic(), self._damage()
        if damage is not None and now >= self._mend_at:
            self._mend_at = now + MEND_SECONDS
            try:
                self._writer.set_aside(damage)
            except StoreUnavailableError as error:
                logger.error("%s; it stays in use, and its alerts go on", error)
        incident = self.database.incident
        if incident != self._incident:
            self._incident, self._healthy_at = incident, now + MEND_SECONDS
            self._health("raised", incident or "")
        elif self._healthy_at and now >= self._healthy_at:
            self._healthy_at = 0.0
            self._health("cleared", "")

    def _commit_if_due(self) -> None:
        now = self._clock.monotonic()
        has_waited = now - self._flushed >= FLUSH_SECONDS
        if self._retry.is_due(now, is_wanted=has_waited or bool(self._backlog)):
            self._commit(scores=has_waited)
        else:
            self._backlog.drop_oldest()

    def _commit(self, *, scores: bool = True, ends: bool = False) -> None:
        """Write what is pending as one transaction, with the `scores` or without."""
        has_space = self._writer.disk.has_space()
        try:
            self._recover()
            self._rule_state = self._writer.write(
                lambda connection, key: self._write_all(
                    connection, key, scores=scores and has_space, ends=ends
                ),
                synced=bool(self._backlog),
                lock_seconds=self._retry.lock_seconds(ends=ends),
            )
        except StoreUnavailableError as error:
            self._fail(error)
        else:
            self._succeed(scores=scores)

    def _recover(self) -> None:
        """Restore the rules, and end the events that a killed monitor left; once."""
        if self._has_recovered:
            return
        state, interrupted = self._writer.write(
            self._read_past, synced=False, lock_seconds=self._retry.lock_seconds()
        )
        self._has_recovered = True
        now = self._clock.utc()
        if self._rules is not None:
            if state is not None and not self._has_run_rules:
                self._rules.restore(state)
            if interrupted:
                self._backlog.alerts.extend(self._rules.step(interrupted, now))
        self._backlog.add_first(interrupted, to_ms(now))
        self._recovered += interrupted
        if interrupted:
            logger.warning(
                "the monitor was killed while %d events or health problems went on: "
                "they end as interrupted",
                len(interrupted),
            )

    def _read_past(
        self, connection: sqlite3.Connection, _session_key: int
    ) -> tuple[dict[str, Any] | None, list[Timed]]:
        """Read the state of the rules, and the ends of what was left open."""
        self._forget(connection)
        interrupted = interrupted_records(connection, self._session.session)
        return read_rule_state(connection), interrupted

    def _write_all(
        self,
        connection: sqlite3.Connection,
        session_key: int,
        *,
        scores: bool,
        ends: bool,
    ) -> str:
        """Write what is pending; return the state of the rules that is stored now."""
        self._has_offered |= bool(self._backlog.alerts)
        self._forget(connection)
        self._backlog.write(connection, session_key)
        if scores:
            self._scores.write(connection, session_key)
            self._embeddings.write(connection, session_key, ends=ends)
            self._levels.write(connection, ends=ends)
            connection.execute(
                "UPDATE sessions SET seen_ms = ? WHERE id = ?",
                (to_ms(self._clock.utc()), session_key),
            )
        state = self._rule_state
        if self._rules is not None:
            state = json.dumps(dict(self._rules.state()))
            if self._backlog or state != self._rule_state:
                write_rule_state(connection, state)
        if ends:
            connection.execute(
                "UPDATE sessions SET ended_ms = ? WHERE id = ?",
                (to_ms(self._clock.utc()), session_key),
            )
        return state

    def _forget(self, connection: sqlite3.Connection) -> None:
        """Forget what was before the deletions that the user has made meanwhile."""
        for deleted in self._forgetting.look(connection):
            self._forgetting.take_out(self._backlog, deleted)
            self._scores.forget(*deleted)
            self._embeddings.forget(*deleted)
            self._levels.forget(*deleted)
            if self._rules is not None:
                self._rules.forget()
            since_ms, until_ms = deleted
            since = from_ms(since_ms) if since_ms > 0 else None
            self._forgotten(since, from_ms(until_ms))

    def _succeed(self, *, scores: bool) -> None:
        self._scores.commit()
        self._embeddings.commit()
        self._levels.commit()
        if self._retry.is_failing:
            logger.warning(
                "database %s is written again: %d records and %d alerts came from "
                "memory, %d are lost",
                self.database.path,
                len(self._backlog.records),
                len(self._backlog.alerts),
                self._backlog.lost,
            )
        had_alerts, self._has_offered = self._has_offered, False
        self._backlog.clear()
        if scores:
            self._flushed = self._clock.monotonic()
        self._retry.succeed()
        if had_alerts:
            self._committed()

    def _fail(self, error: StoreUnavailableError) -> None:
        self._scores.roll_back()
        self._embeddings.roll_back()
        self._levels.roll_back()
        if not self._retry.is_failing:
            logger.error(
                "%s; keeping up to %d records in memory until it can",
                error,
                self._backlog.capacity,
            )
        self._retry.fail(self._clock.monotonic())
        self._backlog.drop_oldest()
