"""The tables of the database, as the migrations that create them.

Times end in `_ms`: milliseconds since 1970, UTC.  Samples are indices at the model's
sample rate since the source was opened; they begin again with every run, and with a
model of another rate.
"""

from collections.abc import Iterator
from sqlite3 import complete_statement

APPLICATION_ID = 0x534D6F6E
"""`SMon`, in the header of the file; early versions did not write it."""

FIRST_TABLES = frozenset({"sessions", "sources", "events", "gaps", "scores", "alerts"})
"""Tables of every version, by which a database without the id is recognised."""

MIGRATIONS: tuple[str, ...] = (
    """
-- A session is one run of the monitor.
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL UNIQUE,      -- as in the ids of events
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,                  -- null: it runs, or it was killed
    model TEXT NOT NULL,
    labels TEXT NOT NULL,              -- JSON list: what the scores stand for
    sample_rate INTEGER NOT NULL
) STRICT;

CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- An occurrence of a label: begun by an onset, completed by an event.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    session INTEGER NOT NULL REFERENCES sessions (id),
    source INTEGER NOT NULL REFERENCES sources (id),
    label TEXT NOT NULL,
    at_ms INTEGER NOT NULL,            -- its start, or when it came if unknown
    start_ms INTEGER,                  -- null: a recording whose time is unknown
    end_ms INTEGER,                    -- null also while it is going on
    start_sample INTEGER NOT NULL,
    stop_sample INTEGER NOT NULL,      -- of what is known so far
    peak_score REAL,                   -- null, as below: not a number
    mean_score REAL,
    level_dbfs REAL,
    laeq_db REAL,
    top TEXT NOT NULL,                 -- JSON [[label, score], ...]
    model TEXT NOT NULL,
    end_reason TEXT                    -- null: it is going on
) STRICT;
CREATE INDEX events_by_time ON events (at_ms);
CREATE INDEX events_by_end ON events (end_ms);
CREATE INDEX events_going_on ON events (session) WHERE end_reason IS NULL;

CREATE TABLE gaps (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES sessions (id),
    source INTEGER NOT NULL REFERENCES sources (id),
    at_ms INTEGER NOT NULL,
    start_ms INTEGER,
    end_ms INTEGER,
    start_sample INTEGER NOT NULL,
    stop_sample INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX gaps_by_time ON gaps (at_ms);

-- About a minute of one source's score frames, equally spaced.
CREATE TABLE scores (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES sessions (id),
    source INTEGER NOT NULL REFERENCES sources (id),
    start_ms INTEGER NOT NULL,         -- start of the first window
    end_ms INTEGER NOT NULL,           -- end of the last window
    start_sample INTEGER NOT NULL,     -- of the first window
    window_samples INTEGER NOT NULL,
    hop_samples INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    data BLOB NOT NULL                 -- see scores.py
) STRICT;
CREATE INDEX scores_by_time ON scores (start_ms);

-- The same with names instead of keys, for reading.
CREATE VIEW events_read AS
SELECT events.*, sources.name AS source_name, sessions.session AS session_name,
    sessions.sample_rate
FROM events
JOIN sources ON sources.id = events.source
JOIN sessions ON sessions.id = events.session;

CREATE VIEW gaps_read AS
SELECT gaps.*, sources.name AS source_name, sessions.session AS session_name,
    sessions.sample_rate
FROM gaps
JOIN sources ON sources.id = gaps.source
JOIN sessions ON sessions.id = gaps.session;

CREATE VIEW scores_read AS
SELECT scores.*, sources.name AS source_name, sessions.session AS session_name,
    sessions.sample_rate
FROM scores
JOIN sources ON sources.id = scores.source
JOIN sessions ON sessions.id = scores.session;

-- Time ranges that the user deleted; records in memory from them are not stored.
CREATE TABLE forgotten (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL,          -- the newest then; only it has them in memory
    since_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL
) STRICT;

-- The outbox: the alerts of each endpoint, and how far they have come.
CREATE TABLE alerts (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,           -- idempotency key, the same over retries
    endpoint TEXT NOT NULL,            -- RULE/KIND
    rule TEXT NOT NULL,
    kind TEXT NOT NULL,
    event_id TEXT,
    created_ms INTEGER NOT NULL,
    body TEXT NOT NULL,                -- JSON, what is sent
    state TEXT NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'delivered', 'dead', 'dropped')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_ms INTEGER NOT NULL,
    deadline_ms INTEGER NOT NULL,
    last_error TEXT
) STRICT;
CREATE INDEX alerts_pending ON alerts (endpoint, sequence) WHERE state = 'pending';
CREATE INDEX alerts_by_time ON alerts (created_ms);

CREATE TABLE attempts (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id TEXT NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    duration_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX attempts_of_alert ON attempts (alert_id);

-- The memory of the rules, as JSON.
CREATE TABLE rule_state (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT;
""",
    """
-- Dead alerts are counted again and again, among the alerts of a year.
CREATE INDEX alerts_dead ON alerts (endpoint) WHERE state = 'dead';
""",
    """
-- A health problem of a source, or of the monitor as a whole (source '*').
CREATE TABLE health (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    session INTEGER NOT NULL REFERENCES sessions (id),
    source INTEGER NOT NULL REFERENCES sources (id),
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('raised', 'cleared')),
    at_ms INTEGER NOT NULL,            -- its start, or when it came if unknown
    start_ms INTEGER,
    end_ms INTEGER,                    -- null also while it is going on
    start_sample INTEGER NOT NULL,
    stop_sample INTEGER NOT NULL,      -- of what is known so far
    detail TEXT NOT NULL               -- sentences from when it was raised and cleared
) STRICT;
CREATE INDEX health_by_time ON health (at_ms);
CREATE INDEX health_by_end ON health (end_ms);
CREATE INDEX health_going_on ON health (session) WHERE state = 'raised';

CREATE VIEW health_read AS
SELECT health.*, sources.name AS source_name, sessions.session AS session_name,
    sessions.sample_rate
FROM health
JOIN sources ON sources.id = health.source
JOIN sessions ON sessions.id = health.session;
""",
    """
-- How `data` is encoded, see scores.py; rows of earlier versions keep format 1.
ALTER TABLE scores ADD COLUMN format INTEGER NOT NULL DEFAULT 1;
""",
    """
-- What computes the embeddings of the session: those with the same id can be compared.
ALTER TABLE sessions ADD COLUMN embedding_id TEXT NOT NULL DEFAULT '';

-- About a minute of one source's embeddings, equally spaced, if they are to be kept.
CREATE TABLE embeddings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES sessions (id),
    source INTEGER NOT NULL REFERENCES sources (id),
    start_ms INTEGER NOT NULL,         -- start of the first window
    end_ms INTEGER NOT NULL,           -- end of the last window
    start_sample INTEGER NOT NULL,     -- of the first window
    window_samples INTEGER NOT NULL,
    hop_samples INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    features INTEGER NOT NULL,
    format INTEGER NOT NULL,
    data BLOB NOT NULL                 -- see embeddings.py
) STRICT;
CREATE INDEX embeddings_by_time ON embeddings (start_ms);

CREATE VIEW embeddings_read AS
SELECT embeddings.*, sources.name AS source_name, sessions.session AS session_name,
    sessions.sample_rate, sessions.model, sessions.embedding_id
FROM embeddings
JOIN sources ON sources.id = embeddings.source
JOIN sessions ON sessions.id = embeddings.session;
""",
    """
-- What a person said about an event; it is deleted with the event.
CREATE TABLE reviews (
    event_id TEXT NOT NULL PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    verdict TEXT CHECK (verdict IN ('right', 'wrong', 'label')),
    label TEXT                         -- the right one
        CHECK ((label IS NOT NULL) = (verdict IS 'label')),
    locked INTEGER NOT NULL DEFAULT 0  -- retention deletes neither event nor clip
        CHECK (locked IN (0, 1)),
    reviewed_ms INTEGER NOT NULL       -- of the verdict, else of the lock
) STRICT;
CREATE INDEX reviews_by_verdict ON reviews (verdict);
CREATE INDEX reviews_locked ON reviews (event_id) WHERE locked;

-- Pages of events are read by these: they hold all that a page is chosen by.
DROP INDEX events_by_time;
CREATE INDEX events_by_time ON events (at_ms, sequence, peak_score);
CREATE INDEX events_by_source ON events (source, at_ms, sequence, peak_score);
CREATE INDEX events_by_label ON events (label, source, at_ms, sequence, peak_score);

DROP VIEW events_read;
CREATE VIEW events_read AS
SELECT events.*, sources.name AS source_name, sessions.session AS session_name,
    sessions.sample_rate, reviews.verdict, reviews.label AS true_label,
    coalesce(reviews.locked, 0) AS locked, reviews.reviewed_ms
FROM events
JOIN sources ON sources.id = events.source
JOIN sessions ON sessions.id = events.session
LEFT JOIN reviews ON reviews.event_id = events.id;
""",
    """
-- The levels of a source in an hour, added up over sessions.
CREATE TABLE level_hours (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source INTEGER NOT NULL REFERENCES sources (id),
    hour_ms INTEGER NOT NULL,          -- its begin
    offset_db REAL NOT NULL,           -- level_offset_db of the source, in all levels
    covered_ms INTEGER NOT NULL,       -- what the levels are of
    energy REAL NOT NULL,              -- A-weighted power, summed over its seconds
    lafmax_db REAL NOT NULL,
    format INTEGER NOT NULL,
    data BLOB NOT NULL,                -- see level_hours.py
    UNIQUE (source, hour_ms, offset_db)
) STRICT;
CREATE INDEX level_hours_by_time ON level_hours (hour_ms);

CREATE VIEW level_hours_read AS
SELECT level_hours.*, sources.name AS source_name
FROM level_hours
JOIN sources ON sources.id = level_hours.source;

-- Null: not measured.
ALTER TABLE events ADD COLUMN lafmax_db REAL;

-- level_offset_db of the source, in A-weighted levels; null: of an earlier version.
ALTER TABLE events ADD COLUMN level_offset_db REAL;

-- Samples that the missing windows of an overload add; null: all, or unknown.
ALTER TABLE gaps ADD COLUMN left_out INTEGER;

-- The session ran at least until then; of a killed one of an earlier version, until
-- its newest scores.
ALTER TABLE sessions ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET seen_ms = coalesce(ended_ms, (
    SELECT end_ms FROM scores WHERE start_ms >= started_ms AND start_ms < coalesce(
        (SELECT started_ms FROM sessions AS next WHERE next.id > sessions.id
         ORDER BY next.id LIMIT 1), 9e15
    ) ORDER BY start_ms DESC LIMIT 1
), started_ms);
""",
    """
-- One row while records are published for a fleet.
CREATE TABLE publishing (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,               -- random; sequences begin at 1 with each
    previous TEXT,                     -- JSON {"epoch", "last"}; null: unknown
    acknowledged INTEGER NOT NULL DEFAULT 0, -- the broker has all up to this sequence
    durable INTEGER NOT NULL DEFAULT 0,      -- all up to this one survive a power cut
    scores INTEGER NOT NULL            -- whether scores are published
) STRICT;

-- What is published, in order; triggers fill it while `publishing` has its row.
CREATE TABLE outgoing (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL,
    row INTEGER,                       -- key in the table of that type
    at_ms INTEGER NOT NULL,
    body TEXT                          -- what is in no other table
) STRICT;
CREATE INDEX outgoing_by_time ON outgoing (type, at_ms);

-- The newest row of scores of each source: it is published when it is complete.
CREATE TABLE incomplete_scores (
    source INTEGER PRIMARY KEY,
    row INTEGER NOT NULL
) STRICT;

CREATE TRIGGER events_begun AFTER INSERT ON events
WHEN EXISTS (SELECT 1 FROM publishing)
BEGIN
    INSERT INTO outgoing (type, row, at_ms) VALUES (
        CASE WHEN NEW.end_reason IS NULL THEN 'onset' ELSE 'event' END,
        NEW.sequence, NEW.at_ms
    );
END;

CREATE TRIGGER events_ended AFTER UPDATE OF end_reason ON events
WHEN OLD.end_reason IS NULL AND NEW.end_reason IS NOT NULL
    AND EXISTS (SELECT 1 FROM publishing)
BEGIN
    INSERT INTO outgoing (type, row, at_ms) VALUES ('event', NEW.sequence, NEW.at_ms);
END;

CREATE TRIGGER gaps_found AFTER INSERT ON gaps
WHEN EXISTS (SELECT 1 FROM publishing)
BEGIN
    INSERT INTO outgoing (type, row, at_ms) VALUES ('gap', NEW.sequence, NEW.at_ms);
END;

CREATE TRIGGER health_begun AFTER INSERT ON health
WHEN EXISTS (SELECT 1 FROM publishing)
BEGIN
    INSERT INTO outgoing (type, row, at_ms, body)
    VALUES ('health', NEW.sequence, NEW.at_ms, NEW.state);
END;

CREATE TRIGGER health_ended AFTER UPDATE OF state ON health
WHEN OLD.state != NEW.state AND EXISTS (SELECT 1 FROM publishing)
BEGIN
    INSERT INTO outgoing (type, row, at_ms, body)
    VALUES ('health', NEW.sequence, NEW.at_ms, NEW.state);
END;

CREATE TRIGGER scores_complete BEFORE DELETE ON incomplete_scores
BEGIN
    INSERT INTO outgoing (type, row, at_ms)
    SELECT 'scores', id, start_ms FROM scores WHERE id = OLD.row;
END;

CREATE TRIGGER scores_begun AFTER INSERT ON scores
WHEN EXISTS (SELECT 1 FROM publishing WHERE scores)
BEGIN
    DELETE FROM incomplete_scores WHERE source = NEW.source;
    INSERT INTO incomplete_scores (source, row) VALUES (NEW.source, NEW.id);
END;

-- After a reload, a row grows that was complete: it is published again.
CREATE TRIGGER scores_grown AFTER UPDATE ON scores
WHEN NOT EXISTS
    (SELECT 1 FROM incomplete_scores WHERE source = NEW.source AND row = NEW.id)
    AND EXISTS (SELECT 1 FROM publishing WHERE scores)
BEGIN
    DELETE FROM incomplete_scores WHERE source = NEW.source;
    INSERT INTO incomplete_scores (source, row) VALUES (NEW.source, NEW.id);
END;

CREATE TRIGGER session_begun AFTER INSERT ON sessions
BEGIN
    DELETE FROM incomplete_scores;
END;

CREATE TRIGGER session_ended AFTER UPDATE OF ended_ms ON sessions
WHEN NEW.ended_ms IS NOT NULL
BEGIN
    DELETE FROM incomplete_scores;
END;
""",
)
"""The script at index n brings a database from `user_version` n to n + 1."""


def statements(script: str) -> Iterator[str]:
    """Split a script, so that it can run inside a transaction."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if complete_statement(pending):
            yield pending
            pending = ""
    assert not pending.strip(), "a migration ends with a whole statement"
