"""The database file: created, migrated, opened, and set aside when it is damaged.

One monitor at a time writes to a database.  Space is reserved inside its own files, so
that events and alerts can be written to a full disk.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from monitor.errors import StoreError, StoreUnavailableError
from monitor.private_files import FOLDER_MODE, make_private, open_private
from monitor.sinks.store.schema import MIGRATIONS, statements

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

BUSY_SECONDS = 5.0
MAX_CHECKED_MIB = 64
"""A file up to this size is read and checked as a whole when it is opened."""

CHECKPOINT_PAGES = 200
"""The write-ahead log is begun anew after so many pages, and keeps its length."""

RESERVE_BYTES = 2**20
"""Space for several hundred events with their alerts."""

MIN_FREE_BYTES = 4 * 2**20
"""Free space below which scores are not written, only records and alerts."""

_SPACE_AGAIN = "the disk of %s has space again"
_ALMOST_FULL = (
    "the disk of %s is almost full: scores wait in memory, and onsets, events and "
    "alerts go into the space reserved for them"
)
_FILE_SUFFIXES = ("", "-wal", "-shm")
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_damage(error: Exception) -> bool:
    """Return True if `error` says that the file is no valid database."""
    if isinstance(error, UnicodeDecodeError):  # of SQLite's message on a damaged table
        return True
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte is the kind, the rest gives more detail.
    return code is not None and code & 0xFF in _DAMAGE


class Database:
    """One SQLite file in WAL mode.  May be used by several threads and processes."""

    def __init__(
        self,
        path: Path,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
        migrations: Sequence[str] = MIGRATIONS,
    ) -> None:
        """Name the file and its wall clock; nothing is opened."""
        self.path = path
        self._utc = utc
        self._migrations = migrations

    def prepare(self) -> None:
        """Create the file if need be, and migrate its tables.

        A damaged file is renamed, which is logged, and a new one is created.

        Raises:
            StoreError: A newer version of the program wrote it.
            StoreUnavailableError: It cannot be written now: the disk is full, or the
                folder is not writable.  Trying again later may help.
        """
        with self._unavailable_on_error():
            try:
                self._prepare_once()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not is_damage(error):
                    raise
                self.set_aside(error)
                self._prepare_once()

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        """Open a connection, after `prepare`.

        It is in autocommit mode: see `transaction`.  It may pass from thread to thread,
        but serves one at a time.  After a `sqlite3.DatabaseError` other than an
        `OperationalError` the file may have been set aside: close it, connect again.

        Raises:
            StoreUnavailableError: The file is missing or cannot be opened.
        """
        with self._unavailable_on_error():
            return self._open("ro" if read_only else "rw")

    def is_current(self, connection: sqlite3.Connection) -> bool:
        """Return True if the tables have the version of the program."""
        return _version(connection) == len(self._migrations)

    def set_aside(self, reason: Exception) -> None:
        """Rename the database and its side files to PATH.damaged-UTC, and log it.

        Raises:
            StoreUnavailableError: It cannot be renamed.
        """
        target = Path(f"{self.path}.damaged-{self._utc():%Y%m%dT%H%M%S%fZ}")
        with self._unavailable_on_error():
            for suffix in _FILE_SUFFIXES:
                source = Path(f"{self.path}{suffix}")
                if source.exists():
                    source.rename(f"{target}{suffix}")
        logger.error(
            "database %s is damaged (%s): set aside as %s, a new one begins",
            self.path,
            reason,
            target.name,
        )

    def _prepare_once(self) -> None:
        self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        for suffix in _FILE_SUFFIXES:
            make_private(Path(f"{self.path}{suffix}"))
        # SQLite would create the file as the umask allows; the side files follow it.
        # A file that is there is not opened: to close it would release the locks of
        # all connections of this process, and another process would delete their log.
        with contextlib.suppress(FileExistsError):
            os.close(open_private(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        with closing(self._open("rw")) as connection:
            self._check(connection)
            version = _version(connection)
            if version == 0:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            if version <= len(self._migrations):
                connection.execute("PRAGMA journal_mode = WAL")
            self._migrate(connection)

    def _check(self, connection: sqlite3.Connection) -> None:
        if self.path.stat().st_size > MAX_CHECKED_MIB * 2**20:
            return
        (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            error = sqlite3.DatabaseError(answer.splitlines()[-1])
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

    def _migrate(self, connection: sqlite3.Connection) -> None:
        newest = len(self._migrations)
        while (version := _version(connection)) != newest:
            if version > newest:
                raise StoreError(
                    f"{self.path}: has version {version}, and this program knows "
                    f"only {newest}: a newer one wrote it; use that, or another "
                    "store.path"
                )
            with transaction(connection):
                # Another process may have been faster.
                if _version(connection) == version:
                    for statement in statements(self._migrations[version]):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {version + 1}")

    def _open(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
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

    def __init__(self, database: Database) -> None:
        """Open nothing yet."""
        self._database = database
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
            self._connection = self._database.connect()
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


def open_database(path: Path) -> Database:
    """Prepare the database at `path` and return it.

    Raises:
        StoreError: See `Database.prepare`.
    """
    database = Database(path)
    database.prepare()
    return database


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


class WriterLock:
    """Lock of the monitor that writes; released when its process ends in any way.

    Without it a second monitor would take the sounds that the first one is detecting
    for the remains of a crash.  Readers and the commands do not need it.
    """

    def __init__(self, path: Path) -> None:
        """Take nothing yet; `path` is that of the database."""
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; once it is held, do nothing.

        Raises:
            StoreError: Another monitor holds it.
            OSError: The lock file cannot be created.
        """
        if self._descriptor is not None or sys.platform == "win32":
            return
        path = Path(f"{self._path}.lock")
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise
            raise StoreError(
                f"database {self._path} is being written by another monitor; give "
                "this one another state_dir or store.path"
            ) from None
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another monitor write."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class DiskReserve:
    """Space for what must be written, inside the database's own files.

    Another program that fills the disk cannot take it: free pages in the database, and
    a write-ahead log that keeps its length and is written over from its beginning.
    """

    def __init__(self, path: Path) -> None:
        """Take no space yet; `path` is that of the database."""
        self._path = path
        self._has_space = True

    def has_space(self) -> bool:
        """Return True if the disk has space for more than records and alerts.

        A change is logged.
        """
        # Twice as much on the way back, or a disk at the edge would fill the log.
        wanted = MIN_FREE_BYTES if self._has_space else 2 * MIN_FREE_BYTES
        has_space = self._free_bytes() >= wanted
        if has_space != self._has_space:
            logger.warning(_SPACE_AGAIN if has_space else _ALMOST_FULL, self._path)
        self._has_space = has_space
        return has_space

    @property
    def is_filled(self) -> bool:
        """True if the write-ahead log has its length."""
        try:
            return Path(f"{self._path}-wal").stat().st_size >= RESERVE_BYTES
        except OSError:
            return False

    @staticmethod
    def fill(connection: sqlite3.Connection) -> None:
        """Write zeros, and delete them again: their pages and the log stay behind.

        Raises:
            sqlite3.Error: They cannot be written.
        """
        # Two transactions: pages that one transaction takes and frees are not written.
        with transaction(connection):
            connection.execute("CREATE TABLE IF NOT EXISTS reserve (content BLOB)")
            connection.execute(
                "INSERT INTO reserve (content) VALUES (zeroblob(?))", (RESERVE_BYTES,)
            )
        with transaction(connection):
            connection.execute("DROP TABLE reserve")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError:
            return 1 << 62  # the next write finds out why
