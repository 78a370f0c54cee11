"""The fleet's database: batches of messages, each written in one transaction."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg.errors import CheckViolation

from monitor.errors import StoreError
from monitor.fleet.collect import statements
from monitor.fleet.collect.schema import TABLES, create_partitions, migrate
from monitor.fleet.collect.shared_ids import SHARED, SharedIds
from monitor.sinks.publish.record import (
    Reason,
    RecordError,
    RecordMessage,
    decode_message,
)
from monitor.text import first_line

EXAMPLE_LETTERS = 200
MOST_RECEIVED_RANGES = 2_000
"""Ranges of received sequence numbers of one epoch; more than any that is honest."""

CollectorReason = Literal[
    "not-stored",  # the database refuses a value
    "scattered",  # its epoch has too many missing ranges
    "reused",  # another record has had its sequence number
    "shared-id",  # another monitor has its id; the record is taken all the same
]
"""Why a collector refuses a valid message, or counts it."""

REUSED = (
    "it uses sequence numbers again, as a database that was copied back does: its "
    "records are skipped until the numbers are new; start it once without publishing"
)

# Of PostgreSQL's classes of errors, those that some value causes.
_OF_VALUES = ("21", "22", "23", "54")
_REFUSED = ""
"""Type of a row that only its sequence number is taken of."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came."""

    monitor: str
    """The monitor that its topic names; empty: no monitor can have such a name."""

    payload: bytes
    at: datetime
    """Time of its arrival, UTC."""

    token: Any = None
    """What the subscription acknowledges."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How long records are kept, after which their partitions are dropped."""

    days: float = 400.0
    scores_days: float = 400.0

    def since(self, table: str, now: datetime) -> datetime:
        """Time before which a table keeps nothing."""
        days = self.scores_days if table == "scores" else self.days
        return now - timedelta(days=days)


@dataclass(slots=True)
class _Row:
    """A record on its way into the database."""

    message: RecordMessage
    arrival: Arrival
    kind: str
    """Its type, `raw`, or `_REFUSED`."""

    at: datetime
    record: str
    """JSON."""

    def values(self, epoch_id: int) -> tuple[object, ...]:
        """Its columns in the table `incoming`."""
        it = self.message
        kept = "{}" if self.kind == _REFUSED else self.record
        return (
            *(it.monitor, epoch_id, it.sequence, self.kind, it.form, it.type, self.at),
            *(it.sent, self.arrival.at, kept),
        )


@dataclass(slots=True)
class _Refusals:
    """Messages of a batch that are refused, by monitor and reason."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    newest: dict[tuple[str, str], tuple[datetime, str, str]] = field(
        default_factory=dict
    )

    def add(
        self, arrival: Arrival, reason: Reason | CollectorReason, detail: str
    ) -> None:
        key = arrival.monitor, reason
        begin = arrival.payload[: 4 * EXAMPLE_LETTERS].decode(errors="replace")
        example = begin[:EXAMPLE_LETTERS].replace("\0", " ")
        self.counts[key] = self.counts.get(key, 0) + 1
        self.newest[key] = arrival.at, detail.replace("\0", " "), example

    def set_count(
        self, monitor: str, reason: CollectorReason, count: int, detail: str
    ) -> None:
        # A transaction that is tried again counts them again.
        self.counts[monitor, reason] = count
        self.newest[monitor, reason] = datetime.now(UTC), detail, ""


class FleetDatabase:
    """One connection to the fleet's database; used by one thread.

    All methods raise `psycopg.Error` while the database is away, or nobody may write
    it; after `close` the next call connects again.
    """

    def __init__(self, url: str, keep: Keep | None = None) -> None:
        """Connect to nothing yet."""
        self._url = url
        self.keep = keep or Keep()
        self._connection: psycopg.Connection | None = None
        self._partitions: set[tuple[str, date]] = set()
        self._logged: set[tuple[str, str]] = set()
        self._shared_ids = SharedIds()

    def connection(self) -> psycopg.Connection:
        """Return the connection; a new one if it was lost.

        Raises:
            StoreError: The database is of a newer version, or may not be written.
        """
        if self._connection is None or self._connection.closed:
            self._partitions.clear()
            self._connection = connect(self._url)
            try:
                migrate(self._connection)
                self._connection.execute(statements.INCOMING)
            except BaseException:
                self.close()
                raise
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def write(self, arrivals: Sequence[Arrival]) -> None:
        """Write messages; once it returns, they are durable.

        Those that were written before are skipped, and what no collector can take is
        refused and counted.
        """
        self._write(*self._decode(arrivals))

    def _decode(self, arrivals: Sequence[Arrival]) -> tuple[list[_Row], _Refusals]:
        rows: dict[tuple[str, str, int], _Row] = {}
        refusals = _Refusals()
        for arrival in arrivals:
            try:
                row = self._row(arrival)
            except RecordError as error:
                refusals.add(arrival, error.reason, str(error))
                if error.message is None:
                    continue
                # Its number has come: the monitor is not asked for it again and again.
                row = _Row(error.message, arrival, _REFUSED, arrival.at, "{}")
            it = row.message
            if self._shared_ids.is_shared(it):
                refusals.add(arrival, "shared-id", SHARED)
            rows[it.monitor, it.epoch, it.sequence] = row
        return list(rows.values()), refusals

    def _row(self, arrival: Arrival) -> _Row:
        message = decode_message(arrival.payload, arrival.monitor, arrival.at)
        kind, at = message.type, _time_of(message)
        try:
            record = json.dumps(message.record, allow_nan=False)
        except RecursionError:
            raise _refusal("not-json", "it is nested too deeply", message) from None
        if message.contents is None:
            kind = "raw"
        elif at < self.keep.since(TABLES.get(kind, ""), arrival.at):
            raise _refusal("too-old", f"it is of {at:%Y-%m-%d}", message)
        return _Row(message, arrival, kind, at, record)

    def _write(self, rows: list[_Row], refusals: _Refusals) -> None:
        """Write in one transaction; in several, where a value cannot be stored."""
        try:
            self._transaction(rows, refusals)
        except psycopg.Error as error:
            state = error.sqlstate or ""
            if not state.startswith(_OF_VALUES):
                raise
            if len(rows) > 1:
                half = len(rows) // 2
                self._write(rows[:half], _Refusals())
                self._write(rows[half:], refusals)
            elif self._partitions and isinstance(error, CheckViolation):
                self._partitions.clear()  # somebody may have dropped one
                self._write_one(rows, refusals)
            else:
                self._refuse(rows[0], refusals, error)

    def _write_one(self, rows: list[_Row], refusals: _Refusals) -> None:
        try:
            self._transaction(rows, refusals)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            self._refuse(rows[0], refusals, error)

    def _refuse(self, row: _Row, refusals: _Refusals, error: psycopg.Error) -> None:
        """Refuse a record that cannot be stored, and take its number."""
        row.kind = _REFUSED
        refusals.add(row.arrival, "not-stored", first_line(error))
        self._transaction([row], refusals)

    def _transaction(self, rows: list[_Row], refusals: _Refusals) -> None:
        connection = self.connection()
        self._make_partitions(connection, rows)
        with connection.transaction():
            if rows:
                epoch_ids = _lock(connection, rows)
                self._take(connection, rows, epoch_ids, refusals)
            for monitor, reason in sorted(refusals.counts):
                at, detail, example = refusals.newest[monitor, reason]
                count = refusals.counts[monitor, reason]
                values = monitor, reason, count, at, at, detail, example
                connection.execute(statements.REFUSE, values)
        self._log_refusals(rows, refusals)

    def _make_partitions(
        self, connection: psycopg.Connection, rows: Sequence[_Row]
    ) -> None:
        needed = {
            (TABLES[row.kind], row.at.astimezone(UTC).date())
            for row in rows
            if row.kind in TABLES
        }
        if lacking := needed - self._partitions:
            create_partitions(connection, lacking)
            self._partitions |= lacking

    def _take(
        self,
        connection: psycopg.Connection,
        rows: Sequence[_Row],
        epoch_ids: Mapping[tuple[str, str], int],
        refusals: _Refusals,
    ) -> None:
        """Write the records that are new; their monitors are locked."""
        with connection.cursor().copy(statements.COPY) as copy:
            for row in rows:
                epoch_id = epoch_ids[row.message.monitor, row.message.epoch]
                copy.write_row(row.values(epoch_id))
        for monitor, count in connection.execute(statements.REUSED).fetchall():
            refusals.set_count(monitor, "reused", count, REUSED)
        connection.execute(statements.SKIP_RECEIVED)
        taken = connection.execute(
            statements.RECEIVE, [MOST_RECEIVED_RANGES]
        ).fetchall()
        left = connection.execute(
            statements.LEAVE_OUT, [[epoch_id for (epoch_id,) in taken]]
        ).fetchall()
        names = {key: name for (name, _), key in epoch_ids.items()}
        for epoch_id, count in left:
            detail = f"its epoch has more than {MOST_RECEIVED_RANGES} missing ranges"
            refusals.set_count(names[epoch_id], "scattered", count, detail)
        kinds = {row.kind for row in rows}
        for kind, inserts in statements.INSERTS.items():
            for statement in inserts if kind in kinds else ():
                connection.execute(statement)

    def _log_refusals(self, rows: Sequence[_Row], refusals: _Refusals) -> None:
        """Log each reason for which a monitor's messages are refused, once."""
        for row in rows:
            key = row.message.monitor, "newer"
            if row.message.is_newer and key not in self._logged:
                self._logged.add(key)
                logger.warning(
                    "%s sends records of form %d, which this version does not know: "
                    "they are stored raw; update the collector",
                    row.message.monitor,
                    row.message.form,
                )
        for key in refusals.counts.keys() - self._logged:
            self._logged.add(key)
            logger.warning(
                "a message of %s is refused (%s): %s; further ones are counted",
                key[0] or "an unknown monitor",
                key[1],
                refusals.newest[key][1],
            )


def _refusal(reason: Reason, sentence: str, message: RecordMessage) -> RecordError:
    error = RecordError(reason, sentence)
    error.message = message
    return error


def connect(url: str) -> psycopg.Connection:
    """Connect to the fleet's database.

    Raises:
        psycopg.OperationalError: It is away, or refuses.
    """
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=10,
            application_name="sound-monitor",
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg.ProgrammingError as error:
        raise StoreError(f"--database: {error!s:.200}") from None
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET client_min_messages = warning")
    connection.execute("SET jit = off")  # of a fast query, it is most of the time
    connection.execute("SET statement_timeout = '10min'")
    return connection


def _time_of(message: RecordMessage) -> datetime:
    """The time of a record: its start, or else when it was sent, UTC."""
    contents = message.contents
    for key in ("start", "started", "clock", "at"):
        if (moment := getattr(contents, key, None)) is not None:
            assert isinstance(moment, datetime)
            return moment
    return message.sent


def _lock(
    connection: psycopg.Connection, rows: Sequence[_Row]
) -> dict[tuple[str, str], int]:
    """Lock the monitors of rows, in order; return the ids of their epochs."""
    names = sorted({row.message.monitor for row in rows})
    epochs = sorted({(row.message.monitor, row.message.epoch) for row in rows})
    listed = [list(column) for column in zip(*epochs, strict=True)]
    locked = connection.execute(statements.LOCK, [names]).fetchall()
    if len(locked) < len(names):
        connection.execute(statements.ADD_MONITORS, [names])
        connection.execute(statements.LOCK, [names])
    found = connection.execute(statements.EPOCHS, listed).fetchall()
    if len(found) < len(epochs):
        connection.execute(statements.ADD_EPOCHS, listed)
        found = connection.execute(statements.EPOCHS, listed).fetchall()
    return {(monitor, epoch): epoch_id for epoch_id, monitor, epoch in found}
