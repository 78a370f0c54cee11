"""A database of months, filled in seconds with rows like those of the store."""

import json
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from monitor.records import ScoreFrame
from monitor.sinks.store.database import transaction
from monitor.sinks.store.records import Session, begin_session, source_key, to_ms
from monitor.sinks.store.scores import FORMAT, encode_frames
from tests.support.store import open_database
from tests.support.timed import LABELS, SAMPLE_RATE

HOP = 24_576
WINDOW = 176_640
ROW_FRAMES = 101
VARIANTS = 40


def noisy_blob(seed: int) -> bytes:
    """Return a minute of noisy score frames, packed."""
    generator = np.random.default_rng(seed)
    scores = np.clip(generator.normal(0.06, 0.04, (ROW_FRAMES, len(LABELS))), 0, 1)
    columns = np.sort(generator.integers(0, 21, (ROW_FRAMES, len(LABELS), 2)), axis=2)
    columns[..., 1] += 1  # a span that is empty was not computed
    spans = np.minimum(columns * 8192, WINDOW)
    levels = generator.normal(-30, 5, (ROW_FRAMES, 3))
    return encode_frames(
        [
            ScoreFrame(
                "street",
                n * HOP,
                n * HOP + WINDOW,
                tuple(scores[n].tolist()),
                tuple((n * HOP + a, n * HOP + b) for a, b in spans[n].tolist()),
                *levels[n].tolist(),
            )
            for n in range(ROW_FRAMES)
        ]
    )


def fill(path: Path, until: datetime, frames: int, events: int) -> datetime:
    """Fill a new database with records until a time; return the time of the first."""
    database = open_database(path)
    blobs = [noisy_blob(seed) for seed in range(VARIANTS)]
    step = timedelta(seconds=ROW_FRAMES * HOP / SAMPLE_RATE)
    count = -(-frames // ROW_FRAMES)
    start = until - count * step
    start_ms, step_ms = to_ms(start), step / timedelta(milliseconds=1)
    length_ms = round(step_ms + (WINDOW - HOP) / SAMPLE_RATE * 1000)
    event_ms = (to_ms(until) - start_ms) / events
    with closing(database.connect()) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        with transaction(connection):
            run = Session("run", "urban", LABELS, SAMPLE_RATE)
            session = begin_session(connection, run, start_ms)
            source = source_key(connection, "street")
            connection.executemany(
                "INSERT INTO scores (session, source, start_ms, end_ms, start_sample, "
                "window_samples, hop_samples, frames, format, data) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        session,
                        source,
                        at := start_ms + round(n * step_ms),
                        at + length_ms,
                        n * ROW_FRAMES * HOP,
                        WINDOW,
                        HOP,
                        ROW_FRAMES,
                        FORMAT,
                        blobs[n % VARIANTS],
                    )
                    for n in range(count)
                ),
            )
            _add_events(connection, (session, source), (start_ms, event_ms), events)
    return start.astimezone(UTC)


def _add_events(
    connection: sqlite3.Connection,
    keys: tuple[int, int],
    times: tuple[int, float],
    count: int,
) -> None:
    start_ms, step_ms = times
    top = json.dumps([["siren", 0.93], ["car_horn", 0.2], ["street_music", 0.1]])
    connection.executemany(
        "INSERT INTO events (id, session, source, label, at_ms, start_ms, end_ms, "
        "start_sample, stop_sample, peak_score, mean_score, level_dbfs, laeq_db, top, "
        "model, end_reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                str(uuid.UUID(int=n)),
                *keys,
                LABELS[n % len(LABELS)],
                at := start_ms + round(n * step_ms),
                at,
                at + 1000 + n % 9000,
                n * 1000,
                n * 1000 + 44_100,
                0.5 + n % 50 / 100,
                0.5,
                -20.0,
                60.0 + n % 20,
                top,
                "urban",
                "offset",
            )
            for n in range(count)
        ),
    )
