"""Score frames with levels, and stores of them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from monitor.records import HopLevels, ScoreFrame, Timed
from monitor.sinks.store.database import transaction
from monitor.sinks.store.level_hours import LevelHourLog
from tests.support.store import open_database

RATE = 44_100


def level_frame(
    end: datetime,
    laeq_db: float,
    *,
    seconds: float = 60.0,
    source: str = "street",
    laf_db: tuple[float, ...] | None = None,
    lafmax_db: float | None = None,
    offset_db: float = 94.0,
    third_octaves_db: tuple[tuple[float, ...], ...] = (),
) -> Timed:
    """A window whose newest hop has so many seconds of one level."""
    samples = round(seconds * RATE)
    hop = HopLevels(
        samples,
        offset_db,
        laeq_db if lafmax_db is None else lafmax_db,
        (laeq_db,) * 10 if laf_db is None else laf_db,
        third_octaves_db,
        samples,
    )
    frame = ScoreFrame(
        source, 0, samples, (), (), -30.0, -30.0, laeq_db, hop_levels=hop
    )
    return Timed(frame, 0.0, seconds, end - timedelta(seconds=seconds), end)


def minutes(start: datetime, count: int, laeq_db: float, **more: object) -> list[Timed]:
    """Frames of a minute each, from a time on."""
    return [
        level_frame(start + timedelta(minutes=n + 1), laeq_db, **more)
        for n in range(count)
    ]


def store_levels(path: Path, frames: Iterable[Timed]) -> None:
    """Write the levels of frames to the database at `path`."""
    log = LevelHourLog()
    for frame in frames:
        log.add(frame)
    connection = open_database(path).connect()
    with transaction(connection):
        log.write(connection, ends=True)
    connection.close()
