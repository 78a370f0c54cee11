"""How many alerts wait in the outbox, and for how long."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitor.errors import StoreError
from monitor.sinks.store.database import Database
from monitor.sinks.store.rows import from_ms

_BUSY_MS = 200
"""Who asks how the monitor is doing does not wait for its database."""


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """The alerts of one endpoint."""

    endpoint: str
    """RULE/KIND."""

    pending: int = 0
    dead: int = 0
    oldest_pending: datetime | None = None
    """When the oldest that waits was made, UTC."""


def read_outbox(path: Path, endpoints: Sequence[str]) -> tuple[EndpointFacts, ...]:
    """Look at the outbox in the database at `path`.

    Args:
        path: The file.
        endpoints: Those of the configuration; others are told if alerts are left.

    Raises:
        StoreError: It cannot be read now.
    """
    try:
        with closing(Database(path).connect_to_read()) as connection:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            pending = _pending(connection)
            dead: dict[str, int] = dict(
                connection.execute(
                    "SELECT endpoint, count(*) FROM alerts WHERE state = 'dead' "
                    "GROUP BY endpoint"
                )
            )
    except sqlite3.Error as error:
        raise StoreError(f"database {path} cannot be read: {error}") from None
    names = dict.fromkeys([*endpoints, *pending, *dead])
    return tuple(
        EndpointFacts(
            name,
            pending.get(name, (0, None))[0],
            dead.get(name, 0),
            pending.get(name, (0, None))[1],
        )
        for name in names
    )


def _pending(connection: sqlite3.Connection) -> dict[str, tuple[int, datetime | None]]:
    # The counts come from the index alone; only the oldest rows are read.
    rows = connection.execute(
        "SELECT heads.endpoint, heads.count, alerts.created_ms FROM ("
        "SELECT endpoint, count(*) AS count, min(sequence) AS head FROM alerts "
        "WHERE state = 'pending' GROUP BY endpoint) AS heads "
        "JOIN alerts ON alerts.sequence = heads.head"
    )
    return {endpoint: (count, from_ms(ms)) for endpoint, count, ms in rows}
