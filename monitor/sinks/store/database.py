"""The database file: made, migrated, opened, and set aside when it is damaged.

One monitor at a time writes to a database.

Space inside the database's own files, for what must be written to a full disk.

Another program that fills the disk cannot take it: free pages in the database, and a
write-ahead log that keeps its length and is written over from its beginning.
"""

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
from monitor.sinks.store.schema import MIGRATIONS, statements

logger = logging.getLogger(__name__)


BUSY_SECONDS = 5.0
FILE_MODE = 0o600
FOLDER_MODE = 0o700
CHECKED_MIB = 64
"""A file up to this size is read and checked as a whole when it is opened."""

CHECKPOINT_PAGES = 200
"""The write-ahead log is begun anew after so many pages: see the reserve."""

_SIDE_FILES = ("", "-wal", "-shm")
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def is_damage(error: sqlite3.Error) -> bool:
    """Whether `error` says that the file is no sound database."""
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte is the kind, the rest tells more of it.
    return code is not None and code & 0xFF in _DAMAGE


class Database:
    """One SQLite file in WAL mode.  May be used by several threads and processes."""

    def __init__(
        self,
        path: Path,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
        migrations: Sequence[str] = MIGRATIONS,
    ) -> None:
        """Name the file; nothing is opened.

        Args:
            path: The file; its folder is made by `prepare`.
            utc: What the clock on the wall says; names a damaged file.
            migrations: See `schema.MIGRATIONS`.
        """
        self.path = path
        self._utc = utc
        self._migrations = migrations

    def prepare(self) -> None:
        """Make the file if need be, and bring its tables to the version of the program.

        A damaged file is set aside beside the path, which is said, and a new one begun.

        Raises:
            StoreError: A newer version of the program wrote it.
            StoreUnavailableError: It cannot be written now: the disk is full, or the
                folder is not writable.  Trying again later may help.
        """
        try:
            self._prepare_once()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise self._unavailable(error) from None
            self.set_aside(str(error))
            self._prepare_again()
        except UnicodeDecodeError:  # of what SQLite says of a damaged table
            self.set_aside("a name in it is no text")
            self._prepare_again()
        except OSError as error:
            raise self._unavailable(error) from None

    def connect(self) -> sqlite3.Connection:
        """Open a connection for reading and writing, after `prepare`.

        It is in autocommit mode: see `transaction`.  It may pass from thread to thread,
        but serves one at a time.  After a `sqlite3.DatabaseError` other than an
        `OperationalError` the file may have been set aside: close it, connect again.

        Raises:
            StoreUnavailableError: The file is missing or cannot be opened.
        """
        return self._connect("rw")

    def connect_to_read(self) -> sqlite3.Connection:
        """Open a connection that cannot write.

        Raises:
            StoreUnavailableError: As `connect`.
        """
        return self._connect("ro")

    def is_current(self, connection: sqlite3.Connection) -> bool:
        """Whether the tables are of the version of the program."""
        return _version(connection) == len(self._migrations)

    def set_aside(self, why: str) -> None:
        """Rename the file and its companions to PATH.damaged-UTC, and say it.

        Raises:
            StoreUnavailableError: It cannot be renamed.
        """
        target = Path(f"{self.path}.damaged-{self._utc():%Y%m%dT%H%M%S%fZ}")
        try:
            for suffix in _SIDE_FILES:
                source = Path(f"{self.path}{suffix}")
                if source.exists():
                    source.rename(f"{target}{suffix}")
        except OSError as error:
            raise self._unavailable(error) from None
        logger.error(
            "database %s is damaged (%s): set aside as %s, a new one begins",
            self.path,
            why,
            target.name,
        )

    def _prepare_again(self) -> None:
        try:
            self._prepare_once()
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from None

    def _prepare_once(self) -> None:
        self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        # SQLite would make the file as the umask allows; its companions follow it.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, FILE_MODE))
        with closing(self._open("rw")) as connection:
            self._check(connection)
            if _version(connection) == 0:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            if _version(connection) <= len(self._migrations):
                connection.execute("PRAGMA journal_mode = WAL")
            self._migrate(connection)

    def _check(self, connection: sqlite3.Connection) -> None:
        if self.path.stat().st_size > CHECKED_MIB * 2**20:
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

    def _connect(self, mode: str) -> sqlite3.Connection:
        try:
            return self._open(mode)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unavailable(error) from None

    def _open(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # What the file says of its tables may not call functions of the program.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        except (sqlite3.Error, UnicodeDecodeError):
            connection.close()
            raise
        return connection

    def _unavailable(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"database {self.path} cannot be used: {_reason(error)}"
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a block as one transaction that writes: all of it is committed, or nothing.

    Raises:
        sqlite3.Error: What the block or the commit raised; nothing was written.
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
    """Prepare the database at `path` and give it: its `connect` opens connections.

    Raises:
        StoreError: See `Database.prepare`.
    """
    database = Database(path)
    database.prepare()
    return database


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


if sys.platform != "win32":
    import fcntl


class WriterLock:
    """Held by the monitor that writes; let go when its process ends, however it ends.

    Without it a second monitor would take the sounds that the first one is hearing for
    the remains of a crash.  Readers and the commands do not need it.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(f"{path}.lock")
        self._database = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; once it is held, do nothing.

        Raises:
            StoreError: Another monitor holds it.
            OSError: The lock file cannot be made.
        """
        if self._descriptor is not None or sys.platform == "win32":
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreError(
                f"database {self._database} is being written by another monitor; give "
                "this one another state_dir or store.path"
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another monitor write."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


RESERVE_BYTES = 2**20
"""Room for several hundred events with their alerts."""

ROOM_BYTES = 4 * 2**20
"""With less than this free, only what must be written is written."""


class Room:
    """Whether the disk has room for more than what must be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_there = True

    def look(self) -> bool:
        """Look at the disk, and say what has changed."""
        # Twice as much for the way back, or a disk at the edge would make many words.
        wanted = ROOM_BYTES if self._is_there else 2 * ROOM_BYTES
        room = self._free_bytes() >= wanted
        if room and not self._is_there:
            logger.warning("the disk of %s has room again", self._path)
        if not room and self._is_there:
            logger.warning(
                "the disk of %s is almost full: scores wait in memory, and onsets, "
                "events and alerts go into the space reserved for them",
                self._path,
            )
        self._is_there = room
        return room

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError:
            return 1 << 62  # who writes next finds out why


def is_reserved(path: Path) -> bool:
    """Whether the write-ahead log has its length."""
    try:
        return Path(f"{path}-wal").stat().st_size >= RESERVE_BYTES
    except OSError:
        return False


def reserve(connection: sqlite3.Connection) -> None:
    """Write zeros, and delete them again: their pages and the log stay behind.

    Raises:
        sqlite3.Error: They cannot be written.
    """
    # Two transactions: pages that one transaction takes and frees are never written.
    with transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS reserve (content BLOB)")
        connection.execute(
            "INSERT INTO reserve (content) VALUES (zeroblob(?))", (RESERVE_BYTES,)
        )
    with transaction(connection):
        connection.execute("DROP TABLE reserve")
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
