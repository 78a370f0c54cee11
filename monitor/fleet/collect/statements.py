"""The statements that write a batch: by way of the table `incoming`, once."""

from collections.abc import Iterator, Mapping

from monitor.fleet.collect.schema import KEYS, PARTITIONED, TABLES

INCOMING = """
CREATE TEMPORARY TABLE incoming (
    monitor text, epoch_id integer, sequence bigint, kind text, form bigint, type text,
    at timestamptz, sent timestamptz, stored timestamptz, record jsonb
) ON COMMIT DELETE ROWS
"""
"""`stored` is the time of the arrival until the row is written."""

COPY = "COPY incoming FROM STDIN"

LOCK = """
SELECT monitor FROM monitors WHERE monitor = ANY(%s) ORDER BY monitor FOR NO KEY UPDATE
"""

ADD_MONITORS = """
INSERT INTO monitors (monitor) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING
"""

EPOCHS = """
SELECT id, monitor, epoch FROM epochs
WHERE (monitor, epoch) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""

ADD_EPOCHS = """
INSERT INTO epochs (monitor, epoch) SELECT * FROM unnest(%s::text[], %s::text[])
ON CONFLICT DO NOTHING
"""

# A restored database begins its next session with a number that was received before.
REUSED = """
SELECT incoming.monitor, count(*)
FROM incoming JOIN epochs ON epochs.id = incoming.epoch_id
WHERE kind = 'session' AND received @> incoming.sequence AND NOT EXISTS (
    SELECT FROM sessions WHERE sessions.monitor = incoming.monitor
        AND sessions.session = record ->> 'session')
GROUP BY incoming.monitor
"""

SKIP_RECEIVED = """
DELETE FROM incoming USING epochs
WHERE epochs.id = incoming.epoch_id AND epochs.received @> incoming.sequence
"""

RECEIVE = """
UPDATE epochs SET
    received = received + ranges,
    newest = greatest(newest, last),
    last_seen = greatest(last_seen, arrived)
FROM (
    SELECT epoch_id, range_agg(int8range(sequence, sequence, '[]')) AS ranges,
        max(sequence) AS last, max(stored) AS arrived
    FROM incoming GROUP BY epoch_id
) AS new
WHERE id = epoch_id AND (SELECT count(*) FROM unnest(received + ranges)) <= %s
RETURNING id
"""

LEAVE_OUT = """
WITH left_out AS (
    DELETE FROM incoming WHERE epoch_id <> ALL(%s) RETURNING epoch_id
)
SELECT epoch_id, count(*) FROM left_out GROUP BY epoch_id
"""

REFUSE = """
INSERT INTO refused (monitor, reason, count, first, last, detail, example)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (monitor, reason) DO UPDATE SET
    count = refused.count + excluded.count, last = excluded.last,
    detail = excluded.detail, example = excluded.example
"""

# Keys on the wire that are words of SQL.
_WIRE = {"started": '"start"', "ended": '"end"'}


def _insert(table: str, kind: str) -> str:
    """Insert the records of a type into its table."""
    columns = PARTITIONED[table]
    wire = {name: _WIRE.get(name, name) for name in columns}
    # What the event log has in every record, and says nothing here.
    known = {key.strip('"') for key in wire.values()} | {"schema", "type", "top"}
    keys = ", ".join(f"'{key}'" for key in sorted(known))
    typed = ", ".join(
        f"{wire[name]} {'text' if name == 'data' else kind.removesuffix(' NOT NULL')}"
        for name, kind in columns.items()
    )
    values = ", ".join(
        "decode(r.data, 'base64')" if name == "data" else f"r.{wire[name]}"
        for name in columns
    )
    key = KEYS.get(table, "monitor, id, at")
    once, order, conflict = "", "", "DO NOTHING"
    if table == "scores":
        # A row that grew comes again, longer.
        unique = "i.monitor, r.source, r.session, r.start_sample, i.at"
        once = f"DISTINCT ON ({unique}) "
        order = f" ORDER BY {unique}, r.frames DESC"
        changed = ("sequence", "epoch_id", "sent", "stored", "more", *columns)
        sets = ", ".join(f"{name} = excluded.{name}" for name in changed)
        conflict = f"({key}) DO UPDATE SET {sets} WHERE scores.frames < excluded.frames"
    return (
        f"INSERT INTO {table} "  # noqa: S608 - constants
        f"(monitor, epoch_id, sequence, at, sent, stored, {', '.join(columns)}, more) "
        f"SELECT {once}i.monitor, i.epoch_id, i.sequence, i.at, i.sent, "
        f"clock_timestamp(), {values}, "
        f"nullif(jsonb_strip_nulls(i.record - ARRAY[{keys}]), '{{}}') "
        f"FROM incoming AS i, jsonb_to_record(i.record) AS r({typed}) "
        f"WHERE i.kind = '{kind}'{order} ON CONFLICT {conflict}"
    )


_SESSION = """
INSERT INTO sessions (monitor, session, epoch_id, sequence, sent, stored, started,
    model, labels, sample_rate, version, site, more)
SELECT i.monitor, r.session, i.epoch_id, i.sequence, i.sent, clock_timestamp(),
    r.started, r.model, r.labels, r.sample_rate, r.version, r.site,
    nullif(i.record - ARRAY['session', 'started', 'model', 'labels', 'sample_rate',
        'version', 'site', 'previous'], '{}')
FROM incoming AS i, jsonb_to_record(i.record) AS r(session text, started timestamptz,
    model text, labels jsonb, sample_rate bigint, version text, site text)
WHERE i.kind = 'session' ON CONFLICT DO NOTHING
"""

_NEWEST_SESSION = """
UPDATE monitors SET model = s.model, version = s.version, site = s.site
FROM (
    SELECT DISTINCT ON (monitor) * FROM sessions
    WHERE monitor IN (SELECT monitor FROM incoming WHERE kind = 'session')
    ORDER BY monitor, epoch_id DESC, sequence DESC
) AS s
WHERE monitors.monitor = s.monitor
    AND (s.epoch_id, s.sequence) > (digest_epoch_id, digest_sequence)
"""

_PREVIOUS = """
INSERT INTO epochs (monitor, epoch, newest)
SELECT monitor, epoch, max(last) FROM (
    SELECT monitor, record #>> '{previous,epoch}' AS epoch,
        (record #>> '{previous,last}')::bigint AS last
    FROM incoming
    WHERE kind = 'session' AND jsonb_typeof(record -> 'previous') = 'object'
) AS before
GROUP BY monitor, epoch ORDER BY monitor, epoch
ON CONFLICT (monitor, epoch) DO UPDATE SET
    newest = greatest(epochs.newest, excluded.newest)
"""

_FOLLOWS = """
UPDATE epochs SET previous = record #>> '{previous,epoch}'
FROM incoming
WHERE id = epoch_id AND kind = 'session'
    AND jsonb_typeof(record -> 'previous') = 'object'
"""

_DIGEST_LAST = """
UPDATE epochs SET newest = greatest(newest, last)
FROM (
    SELECT epoch_id, max((record ->> 'last')::bigint) AS last
    FROM incoming WHERE kind = 'digest' GROUP BY epoch_id
) AS newest_digest
WHERE id = epoch_id
"""

# `ran` is what digests say of the runs of a process, whatever order they come in.
_DIGEST_STATE = """
UPDATE monitors SET
    delays = (delays || shortest)[greatest(1, cardinality(delays) - 8):],
    ran = (CASE WHEN (SELECT count(*) FROM unnest(ran)) < 1000 THEN ran
        ELSE '{}'::tstzmultirange END + runs)
        * tstzmultirange(tstzrange(now() - interval '32 days', NULL))
FROM (
    SELECT monitor, min(extract(epoch FROM stored - sent))::double precision
        AS shortest,
        range_agg(tstzrange(at - make_interval(secs => least(greatest(
            coalesce((record ->> 'uptime_seconds')::double precision, 60), 0), 4e7)),
            at, '[]')) AS runs
    FROM incoming WHERE kind = 'digest' GROUP BY monitor
) AS new
WHERE monitors.monitor = new.monitor
"""

_NEWEST_DIGEST = """
UPDATE monitors SET digest = record, digest_at = at, digest_epoch_id = epoch_id,
    digest_sequence = sequence,
    model = coalesce(record ->> 'model', model),
    version = coalesce(record ->> 'version', version),
    site = record ->> 'site',
    bundle = record ->> 'bundle'
FROM (
    SELECT DISTINCT ON (monitor) * FROM incoming WHERE kind = 'digest'
    ORDER BY monitor, epoch_id DESC, sequence DESC
) AS new
WHERE monitors.monitor = new.monitor
    AND ((new.epoch_id, new.sequence) > (digest_epoch_id, digest_sequence)
        -- An older database may be copied back.
        OR new.epoch_id <> digest_epoch_id AND new.at > digest_at)
"""

_DELETED = """
INSERT INTO deleted (monitor, epoch_id, sequence, type, at, stored)
SELECT monitor, epoch_id, sequence, record ->> 'type', at, clock_timestamp()
FROM incoming WHERE kind = 'deleted' ON CONFLICT DO NOTHING
"""

_RAW = """
INSERT INTO raw (monitor, epoch_id, sequence, form, type, sent, stored, record)
SELECT monitor, epoch_id, sequence, form, type, sent, clock_timestamp(), record
FROM incoming WHERE kind = 'raw' ON CONFLICT DO NOTHING
"""


def _inserts() -> Iterator[tuple[str, tuple[bytes, ...]]]:
    more = {
        "digest": (_DIGEST_LAST, _DIGEST_STATE, _NEWEST_DIGEST),
        "session": (_SESSION, _NEWEST_SESSION, _PREVIOUS, _FOLLOWS),
        "deleted": (_DELETED,),
        "raw": (_RAW,),
    }
    for kind in ("session", *TABLES, "deleted", "raw"):
        own = (_insert(TABLES[kind], kind),) if kind in TABLES else ()
        yield kind, tuple(each.encode() for each in (*own, *more.get(kind, ())))


INSERTS: Mapping[str, tuple[bytes, ...]] = dict(_inserts())
"""By type of a record, what stores those of `incoming`."""
