"""The lock of a database: one monitor at a time writes to it."""

import os
import sys
from pathlib import Path

from monitor.errors import StoreError
from monitor.private_files import FOLDER_MODE, open_private

if sys.platform != "win32":
    import fcntl


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
        self._path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
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
