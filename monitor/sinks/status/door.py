"""A socket in the file system: made for one user, replaced only if nobody is there."""

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

MODE = 0o600
FOLDER_MODE = 0o700
LONGEST_ADDRESS = 100
"""Bytes; Linux takes 107, others fewer."""

_WAITING = 8
_OWN_FILES = Path("/proc/self/fd")


class Door:
    """Listens at a path for those who may know.  Used by one thread."""

    def __init__(self, path: Path) -> None:
        """Name the place; nothing is made."""
        self.path = path
        self._socket: socket.socket | None = None
        self._file: os.stat_result | None = None

    def open(self) -> socket.socket:
        """Make the socket; one whose process was killed is replaced.

        Raises:
            OSError: It cannot be made there; `EADDRINUSE`: another process listens, or
                there is a file of another kind.
        """
        self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _alone(self.path.parent), address(self.path) as name:
                self._remove_remains(name)
                listener.bind(name)
                # Nobody can connect before `listen`, so nobody is too early.
                self.path.chmod(MODE)
                self._file = self.path.stat()
                listener.listen(_WAITING)
        except OSError:
            listener.close()
            raise
        self._socket = listener
        return listener

    def close(self) -> None:
        """Take the socket away, unless it is another's by now."""
        if self._socket is None or self._file is None:
            return
        with contextlib.suppress(OSError), _alone(self.path.parent):
            if os.path.samestat(self.path.stat(), self._file):
                self.path.unlink()
        self._socket.close()
        self._socket = None

    def _remove_remains(self, name: str) -> None:
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode) or _is_alive(name):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self.path.unlink()


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """The name of a socket, for `bind` and `connect`, however long its path is.

    Raises:
        OSError: Its folder cannot be opened; `ENAMETOOLONG`: it is too long here.
    """
    if len(os.fsencode(path)) <= LONGEST_ADDRESS:
        yield str(path)
        return
    if not _OWN_FILES.is_dir():
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(_OWN_FILES / str(folder) / path.name)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other monitors from changing sockets in `folder` meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some file systems know no locks; then two that start at once may clash.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_alive(name: str) -> bool:
    """Whether a process listens, though it may be stopped or busy."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.setblocking(False)
        try:
            visitor.connect(name)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True  # So many are waiting already.
    return True
