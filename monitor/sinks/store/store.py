"""The sink that keeps what was heard in a database, with the alerts it causes."""

import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from monitor.config.outputs import StoreSettings
from monitor.errors import StoreUnavailableError
from monitor.records import ScoreFrame, SourceState, Timed
from monitor.sinks.sink import Sink
from monitor.sinks.store.database import Database, Room
from monitor.sinks.store.maintenance import Upkeep
from monitor.sinks.store.records import to_ms
from monitor.sinks.store.scores import ScoreLog
from monitor.sinks.store.session import (
    Clock,
    RulesLike,
    Session,
    end_session,
    interrupted_records,
    read_rule_state,
    write_rule_state,
)
from monitor.sinks.store.writer import Backlog, Patience, Writer
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

MEMORY_RECORDS = 10_000
FLUSH_SECONDS = 10.0


class Store(Sink):
    """Writes onsets, events, gaps, health, alerts and scores to a database.

    What `write` took of all but scores is on the disk when it returns:
    one transaction, synced.  So it stands before every other sink.

    Scores wait in memory for up to `flush_seconds` and are committed together, or with
    the next onset or event, and not synced for their own sake: a row for every hop
    would wear out a flash card.  A kill costs the scores of those seconds, a power
    failure those since the last checkpoint or event.

    While the disk is full, records and alerts go into space that was reserved for them.
    When that is used up, or the database cannot be written at all, the newest records,
    alerts and scores wait in memory.  That is said once, and counted.

    It may be made on another thread than the one that uses it.
    """

    def __init__(
        self,
        path: Path,
        settings: StoreSettings,
        session: Session,
        clock: Clock,
        *,
        rules: RulesLike | None = None,
        committed: Callable[[], None] = lambda: None,
        memory_records: int = MEMORY_RECORDS,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        """Open the database; where that fails, say so and wait for better times.

        Sounds that a killed monitor was hearing are ended as interrupted.

        Args:
            path: The file; its folder is made.
            settings: How much is kept for how long.
            session: This run.
            clock: Of the machine.
            rules: Make alerts, which are committed with the records they follow from.
            committed: Called after a commit with alerts.
            memory_records: Onsets, events, gaps and, apart from them, alerts that are
                kept in memory while the database cannot be written.
            flush_seconds: So long scores may wait for being written.

        Raises:
            StoreError: Another monitor writes to it, or a newer version wrote it.
        """
        self._writer = Writer(path, session, clock)
        self._session = session
        self._clock = clock
        self._rules = rules
        self._committed = committed
        self._backlog = Backlog(memory_records)
        self._flush_seconds = flush_seconds
        self._has_recovered = False
        self._found: list[Timed] = []
        self._has_run_rules = False
        self._scores = ScoreLog()
        self._rule_state = ""
        self._flushed = clock.monotonic()
        self._room = Room(path)
        self._upkeep = Upkeep(self._writer, settings, self._room, clock)
        self._patience = Patience()
        self._commit()

    @property
    def database(self) -> Database:
        """The file, for those who read it, and for the outbox."""
        return self._writer.database

    @property
    def waiting_records(self) -> int:
        """Onsets, events and gaps in memory, because they cannot be written."""
        return len(self._backlog.records)

    @property
    def queues(self) -> dict[str, int]:
        """Records, alerts and score frames that are not written yet."""
        return {
            "store-records": len(self._backlog.records),
            "store-alerts": len(self._backlog.alerts),
            "store-frames": self._scores.waiting_frames,
        }

    @property
    def lost_records(self) -> int:
        """Records and alerts that were given up because memory was full."""
        return self._backlog.lost

    @property
    def lost_frames(self) -> int:
        """Score frames that were given up because memory was full."""
        return self._scores.lost_frames

    def change(self, settings: StoreSettings, session: Session) -> None:
        """Go on with other settings, and as another session if that is another.

        Scores that could not be written until then are lost.
        """
        self._upkeep.change(settings)
        if session == self._session:
            return
        self._commit(ends=True)
        self._scores.begin_anew()
        self._session = session
        self._writer.begin(session)
        self._commit()

    def take_found(self) -> list[Timed]:
        """Events that ended because a monitor was killed, once each."""
        found, self._found = self._found, []
        return found

    def write(self, batch: Sequence[Timed]) -> None:
        """Store what the batch holds, and the alerts that follow; one transaction."""
        now = self._clock.utc()
        for timed in batch:
            if isinstance(timed.record, ScoreFrame):
                self._scores.add(timed)
            elif not isinstance(timed.record, SourceState):
                self._backlog.add(timed, to_ms(now))
        if self._rules is not None:
            self._has_run_rules = True
            self._backlog.add_alerts(self._rules.step(batch, now))
        self._commit_if_due()

    def report(self, _: Statistics) -> None:
        """Let time pass: for the rules, for what waits, and for what is too old."""
        if self._rules is not None:
            self._has_run_rules = True
            self._backlog.add_alerts(self._rules.tick(self._clock.utc()))
        self._commit_if_due()
        if not self._patience.is_failing:
            self._upkeep.do_some()

    def reopen(self) -> None:
        """Open the file at the path, after the one that was open was moved away."""
        self._writer.disconnect()
        self._commit()

    def close(self) -> None:
        """Write what waits, or say that it is lost; close the database."""
        self._commit(ends=True)
        if self._patience.is_failing:
            logger.error(
                "database %s: %d records, %d alerts and %d score frames could not be "
                "stored and are lost",
                self.database.path,
                len(self._backlog.records),
                len(self._backlog.alerts),
                self._scores.waiting_frames,
            )
        self._writer.close()

    def _commit_if_due(self) -> None:
        now = self._clock.monotonic()
        has_waited = now - self._flushed >= self._flush_seconds
        if self._patience.is_due(now, is_wanted=has_waited or bool(self._backlog)):
            self._commit()
        else:
            self._backlog.drop_oldest()

    def _commit(self, *, ends: bool = False) -> None:
        """Write everything that waits as one transaction."""
        has_room = self._room.look()
        try:
            self._recover()
            self._rule_state = self._writer.write(
                lambda connection, key: self._write_all(
                    connection, key, scores=has_room, ends=ends
                ),
                synced=bool(self._backlog),
                patience_seconds=self._patience.seconds(ends=ends),
            )
        except StoreUnavailableError as error:
            self._fail(error)
        else:
            self._succeed()

    def _recover(self) -> None:
        """Once: let the rules remember, and end what a killed monitor was hearing."""
        if self._has_recovered:
            return
        state, interrupted = self._writer.write(
            lambda connection, _: (
                read_rule_state(connection),
                interrupted_records(connection, self._session.session),
            ),
            synced=False,
            patience_seconds=self._patience.seconds(),
        )
        self._has_recovered = True
        now = self._clock.utc()
        if self._rules is not None:
            if state is not None and not self._has_run_rules:
                self._rules.restore(state)
            if interrupted:
                self._backlog.add_alerts(self._rules.step(interrupted, now))
        # Before what came in meanwhile, for it is older.
        self._backlog.add_older(interrupted, to_ms(now))
        self._found += interrupted
        if interrupted:
            logger.warning(
                "the monitor was killed while %d sounds or troubles went on: they end "
                "as interrupted",
                len(interrupted),
            )

    def _write_all(
        self,
        connection: sqlite3.Connection,
        session_key: int,
        *,
        scores: bool,
        ends: bool,
    ) -> str:
        """Write what waits; return the state of the rules that is stored now."""
        self._backlog.write(connection, session_key)
        if scores:
            self._scores.write(connection, session_key)
        state = self._rule_state
        if self._rules is not None:
            state = json.dumps(dict(self._rules.state()))
            if self._backlog or state != self._rule_state:
                write_rule_state(connection, state)
        if ends:
            end_session(connection, session_key, to_ms(self._clock.utc()))
        return state

    def _succeed(self) -> None:
        self._scores.commit()
        if self._patience.is_failing:
            logger.warning(
                "database %s is written again: %d records and %d alerts came from "
                "memory, %d are lost",
                self.database.path,
                len(self._backlog.records),
                len(self._backlog.alerts),
                self._backlog.lost_now,
            )
        had_alerts = bool(self._backlog.alerts)
        self._backlog.clear()
        self._flushed = self._clock.monotonic()
        self._patience.succeed()
        if had_alerts:
            self._committed()

    def _fail(self, error: StoreUnavailableError) -> None:
        self._scores.roll_back()
        if not self._patience.is_failing:
            logger.error(
                "%s; keeping up to %d records in memory until it can",
                error,
                self._backlog.capacity,
            )
        self._patience.fail(self._clock.monotonic())
        self._backlog.drop_oldest()
