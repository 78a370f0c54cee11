"""The database file: created, migrated, opened, and set aside when it is damaged."""

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from monitor.errors import StoreDamagedError, StoreError, StoreUnavailableError
from monitor.private_files import FOLDER_MODE, check_regular, make_private, open_private
from monitor.sinks.store.records import to_ms
from monitor.sinks.store.salvage import (
    MOST_DAMAGED,
    copy_with_schema,
    damage,
    damaged_files,
    is_damage,
    next_damaged,
    salvage,
    settle,
)
from monitor.sinks.store.schema import (
    APPLICATION_ID,
    FIRST_TABLES,
    MIGRATIONS,
    statements,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_SECONDS = 5.0
CHECK_SECONDS = 3.0
"""Longest check of a file when it is opened: alerts first, then everything."""

CHECKPOINT_PAGES = 200
"""The write-ahead log is begun anew after so many pages, and keeps its length."""

_FILE_SUFFIXES = ("", "-wal", "-shm")
# A bad byte in a text costs this character, and not the row.
_lenient_text = partial(str, encoding="utf-8", errors="replace")


class Database:
    """One SQLite file in WAL mode.  May be used by several threads and processes."""

    def __init__(
        self,
        path: Path,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
        migrations: Sequence[str] = MIGRATIONS,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        """Name the file and its wall clock; nothing is opened."""
        self.path = path
        self.incident: str | None = None
        """What was done about a damaged file, for people; None: nothing."""

        self._utc = utc
        self._migrations = migrations
        self._check_seconds = check_seconds
        self._reported: tuple[Exception, os.stat_result] | None = None
        self._salvaged = Path(f"{path}.salvaged")

    def prepare(self, *, mends: bool = True) -> None:
        """Create the file if need be, and migrate its tables.

        If it `mends`, which is for the monitor that holds the `WriterLock`, a damaged
        file is set aside.

        Raises:
            StoreError: It belongs to a newer version or to another program.
            StoreUnavailableError: It cannot be written now: the disk is full, or the
                folder is not writable.  Trying again later may help.
        """
        with self._unavailable_on_error():
            try:
                self._prepare_once()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not is_damage(error):
                    raise
                if not mends:
                    raise self.failure(error) from None
                self.set_aside(error)
                self._prepare_once()

    def connect(
        self, *, read_only: bool = False, immutable: bool = False
    ) -> sqlite3.Connection:
        """Open a connection, after `prepare`; an immutable file has no log beside it.

        It is in autocommit mode: see `transaction`.  It may pass from thread to thread,
        but serves one at a time.  After a `sqlite3.DatabaseError` other than an
        `OperationalError` the file may have been set aside: close it, connect again.

        Raises:
            StoreUnavailableError: The file is missing or cannot be opened.
        """
        with self._unavailable_on_error():
            return self._open("ro" if read_only else "rw", immutable)

    def check_readable(self, connection: sqlite3.Connection) -> None:
        """Check that the tables are those of this version; nothing is written.

        Raises:
            StoreError: They belong to another version or to another program.
        """
        self._check_owner(connection)
        version, newest = _version(connection), len(self._migrations)
        if version > newest:
            raise StoreError(self._newer(version))
        if version < newest:
            raise StoreError(
                f"{self.path}: has version {version}, and this program reads only "
                f"{newest}: an older one wrote it, and 'run' brings it up to date"
            )

    def report_damage(self, error: Exception) -> None:
        """Report what a reader ran into; the monitor sets the file aside.  Any thread.

        It must be about the file that is at the path now.
        """
        with contextlib.suppress(OSError):
            self._reported = error, self.path.stat()

    def take_reported(self) -> Exception | None:
        """Return the newest report, once, if it is about the file at the path now."""
        reported, self._reported = self._reported, None
        with contextlib.suppress(OSError):
            if reported and os.path.samestat(reported[1], self.path.stat()):
                return reported[0]
        return None

    def failure(self, error: Exception) -> StoreError:
        """Make a sentence of an error of using the file."""
        if is_damage(error):
            return StoreDamagedError(
                f"database {self.path} is damaged ({error}): restart the monitor, and "
                "it is set aside, and what can be read is carried over"
            )
        return StoreUnavailableError(f"database {self.path} cannot be used: {error}")

    def set_aside(self, reason: Exception) -> None:
        """Rename it to PATH.damaged-NUMBER-UTC; a new one has what can be read.

        What was done is logged, and is the `incident`.  See `MOST_DAMAGED`.

        Raises:
            StoreUnavailableError: The disk is full or cannot be written.
        """
        now = self._utc()
        target = next_damaged(self.path, now)
        with self._unavailable_on_error():
            self._remove(self._salvaged)
            Database(self._salvaged, self._utc, self._migrations)._prepare_once()
            carried = self._carry_over(
                self.path, lambda old, new: salvage(old, new, to_ms(now))
            )
            self.path.rename(target)
            log = Path(f"{target}-wal")
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}-wal").rename(log)
            # Senders have gone on meanwhile; from here on they wait for the new file.
            self._carry_over(target, settle)
            Path(f"{target}-shm").unlink(missing_ok=True)
            if log.exists() and not log.stat().st_size:
                log.unlink()
            self._remove(self.path)
            self._salvaged.rename(self.path)
        self.incident = (
            f"database {self.path} is damaged ({reason}): set aside as {target.name}; "
            f"{carried or 'nothing in it is readable'}"
        )
        logger.error("%s", self.incident)
        self._delete_oldest()

    def _delete_oldest(self) -> None:
        """Keep few of the files that were set aside: a card that fails makes many."""
        for old in damaged_files(self.path)[:-MOST_DAMAGED]:
            logger.warning("%s is deleted: the newest %d stay", old.name, MOST_DAMAGED)
            with contextlib.suppress(OSError):
                self._remove(old)

    def _carry_over(
        self, path: Path, copy: Callable[[sqlite3.Connection, sqlite3.Connection], T]
    ) -> T | None:
        """Copy from the file at `path` to the new one; None: it cannot be opened."""
        with closing(sqlite3.connect(self._salvaged, isolation_level=None)) as new:
            mended = Path(f"{self.path}.mended")
            try:
                if not Database(path)._has_schema():
                    copy_with_schema(path, mended, new)
                    path = mended
                with closing(Database(path)._open("ro")) as old:
                    return copy(old, new)
            except (OSError, UnicodeDecodeError):
                return None
            finally:
                self._remove(mended)

    def _has_schema(self) -> bool:
        """Return True if the list of tables, by which rows are found, is whole."""
        try:
            with closing(self._open("ro")) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            return False
        return True

    @staticmethod
    def _remove(path: Path) -> None:
        for suffix in _FILE_SUFFIXES:
            Path(f"{path}{suffix}").unlink(missing_ok=True)

    def _prepare_once(self) -> None:
        self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if self._salvaged.exists() and not self.path.exists():
            # The power failed between the two renames.
            self._remove(self.path)
            self._salvaged.rename(self.path)
        for suffix in _FILE_SUFFIXES:
            make_private(Path(f"{self.path}{suffix}"))
        # SQLite would create the file as the umask allows; the side files follow it.
        # A file that is there is not opened: to close it would release the locks of
        # all connections of this process, and another process would delete their log.
        with contextlib.suppress(FileExistsError):
            os.close(open_private(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        with closing(self._open("rw")) as connection:
            self._check_owner(connection)
            self._check(connection)
            version = _version(connection)
            if version == 0:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            if version <= len(self._migrations):
                connection.execute("PRAGMA journal_mode = WAL")
            self._migrate(connection)

    def _check_owner(self, connection: sqlite3.Connection) -> None:
        """Raise StoreError if it is another program's database."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        query = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        tables = {name for (name,) in connection.execute(query)}
        # Databases of early versions have no id.
        is_ours = application == 0 and (not tables or tables >= FIRST_TABLES)
        if application != APPLICATION_ID and not is_ours:
            raise StoreError(
                f"{self.path}: is the database of another program, which stays as it "
                "is; choose another store.path"
            )

    def _check(self, connection: sqlite3.Connection) -> None:
        """Look for damage, as far as the time suffices."""
        timer = threading.Timer(self._check_seconds, connection.interrupt)
        timer.start()
        try:
            for table in (*_checked_first(connection), 1):
                answers = connection.execute(f"PRAGMA quick_check({table})")
                (answer,) = answers.fetchone() or ("ok",)
                if answer != "ok":
                    raise damage(answer.splitlines()[-1])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            logger.info(
                "database %s is large: it was only partly checked for damage", self.path
            )
        finally:
            timer.cancel()
            timer.join()

    def _migrate(self, connection: sqlite3.Connection) -> None:
        newest = len(self._migrations)
        while (version := _version(connection)) != newest:
            if version > newest:
                raise StoreError(self._newer(version))
            with transaction(connection):
                # Another process may have been faster.
                if _version(connection) == version:
                    for statement in statements(self._migrations[version]):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {version + 1}")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _newer(self, version: int) -> str:
        return (
            f"{self.path}: has version {version}, and this program knows only "
            f"{len(self._migrations)}: a newer one wrote it; use that, or another "
            "store.path"
        )

    def _open(self, mode: str, immutable: bool = False) -> sqlite3.Connection:
        check_regular(self.path)  # SQLite would wait for a pipe
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}&immutable={immutable:d}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.text_factory = _lenient_text
        try:
            # Views of a file from elsewhere may not call functions of the program.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        except (sqlite3.Error, UnicodeDecodeError):
            connection.close()
            raise
        return connection

    @contextmanager
    def _unavailable_on_error(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreUnavailableError(
                f"database {self.path} cannot be used: {reason}"
            ) from None


class PathConnection:
    """A connection to the file that stands at the path now.  Used by one thread.

    A database that was moved away or set aside is left, and the new one opened.
    """

    def __init__(self, database: Database, *, read_only: bool = False) -> None:
        """Open nothing yet."""
        self._database = database
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._file: os.stat_result | None = None

    @property
    def is_at_path(self) -> bool:
        """True if a connection to the file at the path is open."""
        try:
            now = self._database.path.stat()
        except OSError:
            return False
        return self._file is not None and os.path.samestat(now, self._file)

    def get(self) -> sqlite3.Connection:
        """Return the connection; open it if need be.

        Raises:
            StoreUnavailableError: See `Database.connect`.
        """
        if not self.is_at_path:
            self.close()
        if self._connection is None:
            self._connection = self._database.connect(read_only=self._read_only)
            self._file = self._database.path.stat()
        return self._connection

    def close(self) -> None:
        """Close the connection; the next `get` opens one."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = self._file = None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a block as one transaction that writes: all of it is committed, or nothing.

    Raises:
        sqlite3.Error: An error of the block or the commit; nothing was written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors, as for a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _checked_first(connection: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_schema WHERE name IN ('alerts', 'rule_state')"
    return [name for (name,) in connection.execute(query)]


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
