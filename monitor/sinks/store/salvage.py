"""Salvage: what can still be read of a damaged database, carried over to a new one.

Rows are read in ranges of their keys, which are divided around pages that cannot be
read: a bad page costs its own rows.
"""

import contextlib
import errno
import glob
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitor.sinks.store.outgoing import renumber

SALVAGE_SECONDS = 4.0
"""Time for all tables but the first ones; the ring buffers hold longer."""

MOST_DAMAGED = 3
"""Files that were set aside; older ones are deleted."""

PAGE_BYTES = 4096
MOST_COPIED_BYTES = 2**28

_FIRST = ("sessions", "sources", "forgotten", "rule_state", "alerts")
_FRAMES = ("scores", "embeddings")
"""Large tables: the first ones, if there is not the time for all."""

_DATED = ("events", "reviews", "health", "gaps", "attempts", "level_hours")
_TABLES = (*_FIRST, *_DATED, *_FRAMES)
_FOUND = (*_TABLES, "publishing", "outgoing", "incomplete_scores")
_INNER = ("sessions", "sources", "forgotten", "attempts")
"""Tables that users do not know, named only if something of them is lost."""

_NOUNS = {
    "rule_state": "states of the alert rules",
    "level_hours": "hours of levels",
    "scores": "minutes of scores",
    "embeddings": "minutes of embeddings",
}

_MOST_FAILURES = 50_000
_CHUNK = 1000
_LAST_KEY = 1 << 62
_MOST_ROWS = 10**9
_LAST_MS = 200_000_000_000_000
"""Milliseconds in the year 8307."""

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNREADABLE = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ})

_Columns = list[str]


def is_damage(error: Exception) -> bool:
    """Return True if `error` says that the file, or a page of it, is unreadable."""
    if isinstance(error, UnicodeDecodeError):  # of SQLite's message on a damaged table
        return True
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte is the kind, the rest gives more detail.
    return code is not None and (code & 0xFF in _DAMAGE or code in _UNREADABLE)


def is_read_only(error: Exception) -> bool:
    """Return True if a connection cannot write; another one may, after a while."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_READONLY


def damage(reason: str) -> sqlite3.DatabaseError:
    """Make the error of a database whose parts contradict each other."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


@dataclass(slots=True)
class Count:
    """Rows of one kind."""

    read: int = 0
    total: int | None = None
    """Rows that there were; None: unknown."""

    @property
    def is_short(self) -> bool:
        """True if some were not read, or may not have been."""
        return self.total is None or self.read < self.total

    def __str__(self) -> str:
        """Return, for example, `210 of 214`."""
        total = "an unknown number" if self.total is None else f"{self.total:,}"
        return f"{self.read:,} of {total}"


def salvage(old: sqlite3.Connection, new: sqlite3.Connection, now_ms: int) -> str:
    """Copy every row that can be read; return the numbers, for people.

    `new` has empty tables of the newest version, `old` may be of an earlier one.

    Raises:
        sqlite3.Error: `new` cannot be written.
    """
    until = time.monotonic() + SALVAGE_SECONDS
    pending = Count()
    counts = {"pending alerts": pending}
    new.execute("PRAGMA foreign_keys = OFF")
    others = tuple(table for table in _TABLES if table not in _FRAMES)
    for group in (others, *((table,) for table in _FRAMES)):
        new.execute("BEGIN IMMEDIATE")
        for table in group:
            limit = None if table in _FIRST else until
            counts[table] = _copy(old, new, table, limit, pending, now_ms)
        _complete_references(new)
        new.execute("COMMIT")
    if columns := _columns(old, "outgoing")[1:]:
        new.execute("BEGIN IMMEDIATE")
        renumber(old, new, _rows(old, "outgoing", columns, None))
        new.execute("COMMIT")
    parts = [
        f"{count} {_NOUNS.get(name, name)}"
        for name, count in counts.items()
        if (count.read or count.total) and (count.is_short or name not in _INNER)
    ]
    return f"carried over {', '.join(parts)}" if parts else "nothing in it is readable"


def damaged_files(path: Path) -> list[Path]:
    """Return the files that the database at `path` was set aside as, oldest first.

    Their number decides: the clock may have been behind.
    """
    found = path.parent.glob(f"{glob.escape(path.name)}.damaged-*Z")
    return sorted(found, key=lambda each: (_damage_number(each), each.name))


def next_damaged(path: Path, now: datetime) -> Path:
    """Return the name for the next one."""
    number = max(map(_damage_number, damaged_files(path)), default=0) + 1
    return path.with_name(f"{path.name}.damaged-{number}-{now:%Y%m%dT%H%M%S%fZ}")


def _damage_number(path: Path) -> int:
    """Number of a file that was set aside; earlier versions gave none."""
    number, *rest = path.name.rpartition(".damaged-")[2].split("-")
    return int(number) if rest and number.isdecimal() else 0


def copy_with_schema(damaged: Path, copy: Path, new: sqlite3.Connection) -> None:
    """Copy a file whose list of tables is damaged, and give it another one.

    All databases of one version have their tables at the same pages, so that those of
    `new` tell where the rows are.

    Raises:
        OSError: It cannot be copied, or is very large.
    """
    if damaged.stat().st_size > MOST_COPIED_BYTES:
        raise OSError(errno.EFBIG, "it is too large to be copied")
    shutil.copyfile(damaged, copy)
    with copy.open("r+b") as file:
        with contextlib.suppress(FileNotFoundError):
            for page, content in _logged_pages(Path(f"{damaged}-wal").read_bytes()):
                file.seek((page - 1) * PAGE_BYTES)
                file.write(content)
        pages = file.seek(0, os.SEEK_END) // PAGE_BYTES
        if pages < max(_places(new).values()):
            raise OSError(errno.ENODATA, "it is too short for the tables")
        first = bytearray(_first_page(new))
        first[28:32] = pages.to_bytes(4, "big")  # as the file format has it
        file.seek(0)
        file.write(first)


def _first_page(new: sqlite3.Connection) -> bytes:
    """Make a page 1 with the tables of `new`, their places, and columns of any type."""
    roots = _places(new)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as memory:
        memory.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        memory.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for table in _FOUND:
            memory.execute(f"CREATE TABLE {table} ({_plain_columns(new, table)})")
        memory.execute("PRAGMA writable_schema = ON")
        change = "UPDATE sqlite_schema SET rootpage = ? WHERE name = ?"
        memory.executemany(change, [(roots[table], table) for table in _FOUND])
        return memory.serialize()[:PAGE_BYTES]


def _places(new: sqlite3.Connection) -> dict[str, int]:
    query = "SELECT name, rootpage FROM sqlite_schema WHERE type = 'table'"
    return dict(new.execute(query).fetchall())


def _plain_columns(new: sqlite3.Connection, table: str) -> str:
    columns = []
    for _, name, kind, _, default, key in new.execute(f"PRAGMA table_info({table})"):
        alias = " INTEGER PRIMARY KEY" if key and kind == "INTEGER" else ""
        columns.append(f"{name}{alias}" + (f" DEFAULT {default}" if default else ""))
    return ", ".join(columns)


def _logged_pages(log: bytes) -> Iterator[tuple[int, bytes]]:
    """Read the pages of the commits in a write-ahead log, in order."""
    at, size = 32, 24 + PAGE_BYTES
    waiting: list[tuple[int, bytes]] = []
    while at + size <= len(log) and log[at + 8 : at + 16] == log[16:24]:
        page, commit = (int.from_bytes(log[i : i + 4], "big") for i in (at, at + 4))
        waiting.append((page, log[at + 24 : at + size]))
        if commit:
            yield from waiting
            waiting.clear()
        at += size


def settle(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Bring over what became of alerts while `salvage` copied the rest.

    Raises:
        sqlite3.Error: `new` cannot be written.
    """
    columns = ["state", "attempts", "next_attempt_ms", "last_error"]
    change = "UPDATE alerts SET (COLUMNS) = (?, ?, ?, ?) WHERE sequence = ?"
    change = f"{change} AND state = 'pending'".replace("COLUMNS", ", ".join(columns))
    new.execute("BEGIN IMMEDIATE")
    for key, *values in _rows(old, "alerts", columns, None):
        with contextlib.suppress(sqlite3.IntegrityError):
            new.execute(change, (*values, key))
    new.execute("COMMIT")


def dead_alert(
    row: Mapping[str, object], reason: str, now_ms: int
) -> dict[str, object]:
    """Make a row of `alerts` that makes no sense one that lists may show."""

    def text(name: str, otherwise: str) -> str:
        value = row.get(name)
        return value if isinstance(value, str) and value else otherwise

    def whole(name: str, otherwise: int) -> int:
        value = row.get(name)
        is_usual = isinstance(value, int) and 0 < value < _LAST_MS
        return int(str(value)) if is_usual else otherwise

    created = whole("created_ms", now_ms)
    return {
        "id": text("id", f"damaged-{row.get('sequence')}"),
        "endpoint": text("endpoint", "unknown"),
        "rule": text("rule", "unknown"),
        "kind": text("kind", "unknown"),
        "event_id": text("event_id", "") or None,
        "created_ms": created,
        # Without its id it is no body: `alerts retry` cannot send it.
        "body": json.dumps({"unreadable": str(row.get("body"))}),
        "state": "dead",
        "attempts": whole("attempts", 0),
        "next_attempt_ms": whole("next_attempt_ms", created),
        "deadline_ms": whole("deadline_ms", created),
        "last_error": reason,
    }


def _copy(
    old: sqlite3.Connection,
    new: sqlite3.Connection,
    table: str,
    until: float | None,
    pending: Count,
    now_ms: int,
) -> Count:
    count = Count(total=_number(old, "SELECT count(*) FROM TABLE", table))
    if table == "alerts":
        query = "SELECT count(*) FROM TABLE WHERE state = 'pending'"
        pending.total = _number(old, query, table)
    columns = _columns(new, table)
    known = _columns(old, table) or columns
    columns = [name for name in columns if name in known]
    for key, *values in _rows(old, table, columns, until):
        row: dict[str, object] = dict(zip(columns, values, strict=True))
        if not _is_inserted(new, table, row):
            if table != "alerts" or row.get("state") in (
                "delivered",
                "dead",
                "dropped",
            ):
                continue
            reason = "its row made no sense when its database was set aside"
            row = {
                **dead_alert({**row, "sequence": key}, reason, now_ms),
                "sequence": key,
            }
            if not _is_inserted(new, table, row):
                continue
        count.read += 1
        pending.read += row.get("state") == "pending"
    return count


def _is_inserted(
    new: sqlite3.Connection, table: str, row: Mapping[str, object]
) -> bool:
    """Insert a row; False: its values have the wrong types, or its key is taken."""
    statement = "INSERT INTO TABLE (COLUMNS) VALUES (PLACES)"
    statement = statement.replace("TABLE", table).replace("COLUMNS", ", ".join(row))
    places = ", ".join("?" * len(row))
    try:
        new.execute(statement.replace("PLACES", places), list(row.values()))
    except sqlite3.IntegrityError:
        return False
    return True


def _columns(connection: sqlite3.Connection, table: str) -> _Columns:
    try:
        found = connection.execute(f"PRAGMA table_info({table})").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return []
    return [str(column[1]) for column in found]


def _rows(
    old: sqlite3.Connection, table: str, columns: _Columns, until: float | None
) -> Iterator[tuple[object, ...]]:
    """Read the rows, each with its key before it; the newest thousands first."""
    query = (
        "SELECT rowid, COLUMNS FROM TABLE NOT INDEXED "
        "WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
    )
    query = query.replace("TABLE", table).replace("COLUMNS", ", ".join(columns))
    failures = 0
    for ranges in _chunks(old, table):
        while ranges and failures < _MOST_FAILURES:
            if until is not None and time.monotonic() > until:
                return
            first, last = ranges.pop()
            try:
                for row in old.execute(query, (first, last)):
                    if not first <= row[0] <= last:
                        raise sqlite3.DatabaseError("pages refer to each other")
                    yield row
                    first = row[0] + 1
            except (sqlite3.Error, UnicodeDecodeError):
                failures += 1
                if first < last:
                    middle = (first + last) // 2
                    ranges += [(middle + 1, last), (first, middle)]


def _chunks(old: sqlite3.Connection, table: str) -> Iterator[list[tuple[int, int]]]:
    # Either may be wrong, or unreadable.
    queries = (
        "SELECT max(rowid) FROM TABLE NOT INDEXED",
        "SELECT seq FROM sqlite_sequence WHERE name = 'TABLE'",
    )
    known = [_number(old, query, table) for query in queries]
    most = max((each for each in known if each and each < _MOST_ROWS), default=None)
    if most is None:
        yield [(0, _LAST_KEY)]
        return
    for last in range(most, -1, -_CHUNK):
        yield [(max(0, last - _CHUNK + 1), last)]


def _number(connection: sqlite3.Connection, query: str, table: str) -> int | None:
    try:
        row = connection.execute(query.replace("TABLE", table)).fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    return row[0] if row and isinstance(row[0], int) else None


def _complete_references(new: sqlite3.Connection) -> None:
    """Give rows whose session or source was lost one that says so.

    A review whose event was lost says nothing, and is left out.
    """
    for table in ("events", "gaps", "health", "level_hours", *_FRAMES):
        # Levels of hours are of no session.
        for statement in _LOST[: 1 if table == "level_hours" else None]:
            new.execute(statement.replace("TABLE", table))
    new.execute("DELETE FROM reviews WHERE event_id NOT IN (SELECT id FROM events)")


_LOST = (
    "INSERT OR IGNORE INTO sources (id, name) "
    "SELECT DISTINCT source, 'lost-' || source FROM TABLE "
    "WHERE source NOT IN (SELECT id FROM sources)",
    "INSERT OR IGNORE INTO sessions "
    "(id, session, started_ms, model, labels, sample_rate) "
    "SELECT DISTINCT session, 'lost-' || session, 0, 'lost', '[]', "
    "coalesce((SELECT sample_rate FROM sessions ORDER BY id DESC LIMIT 1), 44100) "
    "FROM TABLE WHERE session NOT IN (SELECT id FROM sessions)",
)
