"""The last week of a place: the embeddings that its monitor has kept."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.sinks.store.embeddings import read_embeddings
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.records import Session

_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class KeptBlock:
    """Embeddings of windows of one source that follow each other."""

    source: str
    seconds: NDArray[np.float64]
    """(n,), end of each window, seconds since 1970, rising."""

    embeddings: NDArray[np.float32]
    """(n, features)."""


Week = Callable[[], Iterable[KeptBlock]]
"""Reads the blocks of a week, those of a source in order; each call begins anew.

A week of one source has a million windows: they are never in memory together.
"""


def last_week(
    database: Path, now: datetime, *, model: str, network: str, features: int
) -> Week | None:
    """Return the embeddings of the last week that a database has.

    Args:
        database: File of the store; it may not exist.
        now: End of the week, UTC.
        model: Name of the model whose embeddings are wanted.
        network: Its `network_digest`; where a session states what made its embeddings,
            the name does not count.
        features: Features of an embedding.

    Returns:
        None: no embeddings of the model were kept; see `models_kept`.

    Raises:
        StoreError: The database is damaged, or of another program; the week, too,
            raises it.
    """
    since = now - _WEEK

    def is_wanted(session: Session | None) -> bool:
        if session is None:
            return False
        made_by = session.embedding_id
        return made_by == network if made_by else session.model == model

    def blocks() -> Iterator[KeptBlock]:
        with open_to_read(database) as reader:
            sessions = reader.sessions()
            for part in read_embeddings(reader, since, now):
                if part.values.shape[1] != features:
                    continue
                if is_wanted(sessions.get(part.session)):
                    starts = [start.timestamp() for start in part.starts]
                    ends = np.array(starts) + part.window_seconds
                    yield KeptBlock(part.source, ends, part.values)

    if not database.exists():
        return None
    return blocks if any(True for _ in blocks()) else None


def models_kept(database: Path, now: datetime) -> tuple[str, ...]:
    """Return the names of the models whose embeddings were kept in the last week.

    Args:
        database: File of the store; it may not exist.
        now: End of the week, UTC.

    Raises:
        StoreError: The database is damaged, or of another program.
    """
    if not database.exists():
        return ()
    with open_to_read(database) as reader:
        sessions = reader.sessions()
        kept = {row.session for row in reader.embedding_rows(now - _WEEK, now)}
    # Of several models that listen, it is the last one: see `Models.embedding`.
    names = (sessions[it].model.rpartition("+")[2] for it in kept if it in sessions)
    return tuple(sorted(set(names)))
