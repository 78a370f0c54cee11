"""The tables of the fleet's database, PostgreSQL, as the migrations that create them.

Times are `timestamptz`.  `epoch_id` is the epoch of a record, and `sequence` its number
there, `sent` is its time by the monitor's clock, `stored` by the database's; `at`,
its start or else `sent`, is the time that tables are partitioned by, one day each.
`more` has the keys of the record that are no columns.
"""

import contextlib
from collections.abc import Mapping
from datetime import date, datetime, timedelta

import psycopg
from psycopg import sql
from psycopg.errors import LockNotAvailable

from monitor.errors import StoreError
from monitor.fleet.collect.views import VIEWS

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('sound-monitor fleet schema'))"

Columns = Mapping[str, str]

_INTERVAL: Columns = {
    "session": "text NOT NULL",
    "id": "text NOT NULL",
    "source": "text NOT NULL",
    "started": "timestamptz",  # null, as below: unknown
    "ended": "timestamptz",
    "start_sample": "bigint NOT NULL",
    "stop_sample": "bigint",
    "start_seconds": "double precision",
    "end_seconds": "double precision",
}
_OCCURRENCE: Columns = {
    **_INTERVAL,
    "label": "text NOT NULL",
    "peak_score": "double precision",
    "mean_score": "double precision",
    "level_dbfs": "double precision",
    "laeq_db": "double precision",
    "lafmax_db": "double precision",
    "level_offset_db": "double precision",
    "end_reason": "text",
    "top": "jsonb",  # [[label, score], ...]
    "model": "text NOT NULL",
}
PARTITIONED: Mapping[str, Columns] = {
    "onsets": _OCCURRENCE,  # sounds that began; each has its event later
    "events": _OCCURRENCE,
    "gaps": {
        **_INTERVAL,
        "end_reason": "text NOT NULL",
        "left_out_seconds": "double precision",
    },
    "health": {
        **_INTERVAL,
        "kind": "text NOT NULL",
        "state": "text NOT NULL",
        "detail": "text NOT NULL",
    },
    # About a minute of one source's frames; `data` as in monitor/sinks/store/scores.py.
    "scores": {
        "session": "text NOT NULL",
        "source": "text NOT NULL",
        "started": "timestamptz NOT NULL",
        "ended": "timestamptz NOT NULL",
        "start_sample": "bigint NOT NULL",
        "window_samples": "bigint NOT NULL",
        "hop_samples": "bigint NOT NULL",
        "frames": "integer NOT NULL",
        "format": "bigint NOT NULL",
        "data": "bytea NOT NULL",
    },
    "digests": {
        "last": "bigint NOT NULL",  # newest sequence number of the epoch
        "clock": "timestamptz NOT NULL",
        "uptime_seconds": "double precision",
        "listening": "boolean",
        "sources": "jsonb",  # [{name, state, listening, listened_24h, ...}, ...]
        "health": "jsonb",  # [{source, kind, since, detail}, ...]
    },
}
"""Tables with a partition for each day of `at`, in UTC, and their own columns."""

TABLES = {
    "onset": "onsets",
    "event": "events",
    "gap": "gaps",
    "health": "health",
    "scores": "scores",
    "digest": "digests",
}
"""By type of a record, the table with a partition for its day."""

KEYS = {
    "scores": "monitor, source, session, start_sample, at",
    "digests": "epoch_id, sequence, at",
    "health": "monitor, id, state, at",
}
"""What makes a row unique; of the other tables, `monitor, id, at`."""


def _table(name: str) -> str:
    columns = "".join(f"    {key} {kind},\n" for key, kind in PARTITIONED[name].items())
    return f"""
CREATE TABLE {name} (
    monitor text NOT NULL,
    epoch_id integer NOT NULL,
    sequence bigint NOT NULL,
    at timestamptz NOT NULL,
    sent timestamptz NOT NULL,
    stored timestamptz NOT NULL,
{columns}    more jsonb,
    UNIQUE ({KEYS.get(name, "monitor, id, at")})
) PARTITION BY RANGE (at);
CREATE INDEX ON {name} (at);
CREATE INDEX ON {name} USING brin (stored);
"""


# A gap has any length: a machine that was asleep has one.
_BY_END = "CREATE INDEX ON gaps (monitor, ended);"

_FIRST = """
CREATE TABLE monitors (
    monitor text PRIMARY KEY,
    site text,
    version text,
    model text,
    bundle text,                       -- the configuration that was rolled out to it
    since timestamptz NOT NULL DEFAULT now(),  -- when the first record of it arrived
    digest_at timestamptz,             -- by the clock of the monitor
    digest jsonb,                      -- its newest one
    ran tstzmultirange NOT NULL DEFAULT '{}',  -- the runs of the monitor, as of digests
    delays double precision[] NOT NULL DEFAULT '{}',  -- seconds from `sent` to arrival
                                       -- of its newest digests
    digest_epoch_id integer NOT NULL DEFAULT 0,
    digest_sequence bigint NOT NULL DEFAULT 0
);

-- The records of one database of a monitor, numbered consecutively from 1.
CREATE TABLE epochs (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    monitor text NOT NULL REFERENCES monitors ON DELETE CASCADE,
    epoch text NOT NULL,
    previous text,                     -- the epoch before, null: unknown, or none
    newest bigint NOT NULL DEFAULT 0,  -- the last that exists, as far as is known
    received int8multirange NOT NULL DEFAULT '{}',
    last_seen timestamptz,             -- arrival of the newest record
    UNIQUE (monitor, epoch)
) WITH (fillfactor = 50);

-- Runs of the monitors' program.
CREATE TABLE sessions (
    monitor text NOT NULL REFERENCES monitors ON DELETE CASCADE,
    session text NOT NULL,
    epoch_id integer NOT NULL,
    sequence bigint NOT NULL,
    sent timestamptz NOT NULL,
    stored timestamptz NOT NULL,
    started timestamptz,               -- null: its clock was not set yet
    model text NOT NULL,
    labels jsonb NOT NULL,             -- what the scores stand for
    sample_rate bigint NOT NULL,
    version text NOT NULL,
    site text,
    more jsonb,
    PRIMARY KEY (monitor, session)
);

-- Records that the monitor deleted before they were sent.
CREATE TABLE deleted (
    monitor text NOT NULL,
    epoch_id integer NOT NULL,
    sequence bigint NOT NULL,
    type text,
    at timestamptz NOT NULL,           -- the time of the record, if it is known
    stored timestamptz NOT NULL,
    PRIMARY KEY (epoch_id, sequence)
);

-- Ranges of sequence numbers that did not arrive.
CREATE TABLE missing (
    epoch_id integer NOT NULL REFERENCES epochs ON DELETE CASCADE,
    first bigint NOT NULL,
    last bigint NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),  -- when it was noticed
    asked integer NOT NULL DEFAULT 0,  -- times that the monitor was asked in vain
    rest bigint,                       -- how many were missing then
    asked_at timestamptz,
    amount bigint NOT NULL DEFAULT 0,  -- how many are missing now
    filled timestamptz,
    given_up timestamptz,              -- it is not asked for any more
    PRIMARY KEY (epoch_id, first)
);
CREATE INDEX ON missing (epoch_id) WHERE filled IS NULL;

-- Messages that are no valid records.
CREATE TABLE refused (
    monitor text NOT NULL,             -- as its topic says; empty: no monitor can
    reason text NOT NULL,
    count bigint NOT NULL,
    first timestamptz NOT NULL,
    last timestamptz NOT NULL,
    detail text NOT NULL,              -- the newest one: what is wrong,
    example text NOT NULL,             -- and its begin, 200 characters at most
    PRIMARY KEY (monitor, reason)
);

-- What the webhook is told of monitors, in order.
CREATE TABLE changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    monitor text NOT NULL,             -- empty: all of them together
    state text NOT NULL,               -- `deaf` of the view `fleet`, or listening
    since timestamptz NOT NULL,
    noticed timestamptz NOT NULL DEFAULT now(),
    reported timestamptz               -- when the endpoint accepted it; null: not yet
);
CREATE INDEX ON changes (monitor, id DESC);
CREATE INDEX ON changes (id) WHERE reported IS NULL;

-- Records of types and forms that this version does not know.
CREATE TABLE raw (
    monitor text NOT NULL,
    epoch_id integer NOT NULL,
    sequence bigint NOT NULL,
    form bigint NOT NULL,
    type text NOT NULL,
    sent timestamptz NOT NULL,
    stored timestamptz NOT NULL,
    record jsonb NOT NULL,
    PRIMARY KEY (epoch_id, sequence)
);
"""

MIGRATIONS = (_FIRST + "".join(map(_table, PARTITIONED)) + _BY_END + VIEWS,)
"""The script at index n brings a database from version n to n + 1."""


def migrate(connection: psycopg.Connection) -> None:
    """Create the tables, or bring those of an earlier version to this one.

    Raises:
        StoreError: A newer version wrote the database, or it is too old a PostgreSQL.
    """
    if connection.info.server_version < 140_000:  # multiranges
        raise StoreError(
            f"PostgreSQL {connection.info.server_version // 10_000} is too old for the "
            "fleet's database; it needs 14 or newer"
        )
    with connection.transaction():
        connection.execute(_LOCK)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)"
        )
        found = connection.execute("SELECT version FROM schema_version").fetchone()
        version = 0 if found is None else found[0]
        if version > len(MIGRATIONS):
            raise StoreError(
                f"the fleet's database has version {version}, newer than this program "
                f"knows ({len(MIGRATIONS)}): update it"
            )
        if found is None:
            connection.execute("INSERT INTO schema_version VALUES (0)")
        for script in MIGRATIONS[version:]:
            connection.execute(script.encode())
        connection.execute("UPDATE schema_version SET version = %s", [len(MIGRATIONS)])


def partition_name(table: str, day: date) -> str:
    """Name of the partition of a day, UTC."""
    return f"{table}_{day:%Y%m%d}"


def create_partitions(
    connection: psycopg.Connection, wanted: set[tuple[str, date]]
) -> None:
    """Create partitions, each for a table and a day, that may be there already."""
    with connection.transaction():
        connection.execute(_LOCK)
        for table, day in sorted(wanted):
            name = partition_name(table, day)
            found = connection.execute("SELECT to_regclass(%s)", [name]).fetchone()
            if found != (None,):
                continue
            parts = {
                "name": sql.Identifier(name),
                "table": sql.Identifier(table),
                "first": sql.Literal(f"{day} 00:00+00"),
                "last": sql.Literal(f"{day + timedelta(days=1)} 00:00+00"),
            }
            # Unlike PARTITION OF, this waits for no reader of the table.
            for statement in (
                "CREATE TABLE {name} (LIKE {table} INCLUDING ALL)",
                "ALTER TABLE {table} ATTACH PARTITION {name} "
                "FOR VALUES FROM ({first}) TO ({last})",
            ):
                connection.execute(sql.SQL(statement).format(**parts))


def drop_before(connection: psycopg.Connection, table: str, before: datetime) -> None:
    """Drop the partitions of a table that end before a time.

    If readers hold the table for longer than a moment, it is left for the next time.
    """
    names = connection.execute(
        "SELECT relid::regclass::text FROM pg_partition_tree(%s::regclass) "
        "WHERE level = 1 AND relid::regclass::text < %s",
        [table, partition_name(table, before.date())],
    ).fetchall()
    with contextlib.suppress(LockNotAvailable), connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '5s'")
        for (name,) in names:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
