"""One monitor at a time writes to a database."""

import os
import sys
from pathlib import Path

from monitor.errors import StoreError

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
