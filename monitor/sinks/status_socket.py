"""The unix socket that serves the status document, the live feed and commands."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import sleep

from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_client import no_answer, socket_address
from monitor.sinks.status_requests import (
    Commands,
    Follow,
    RecentDocument,
    RequestServer,
)
from monitor.sinks.status_snapshot import StatusTracker
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

MODE = 0o600
FOLDER_MODE = 0o700
BACKLOG = 64
POLL_SECONDS = 0.25
RETRY_SECONDS = 5.0
LOCK_TRIES = 10
LOCK_PAUSE_SECONDS = 0.02
CLOSE_SECONDS = 0.5


class StatusSocket(Sink):
    """Answers each client that connects; see `status_requests`.

    Its own thread answers also while the worker hangs.  Only the user of the monitor,
    and root, can connect.
    """

    def __init__(
        self,
        tracker: StatusTracker,
        path: Path,
        commands: Commands | None = None,
        follow: Follow | None = None,
        recent: RecentDocument | None = None,
    ) -> None:
        """Make nothing before the first `report`; see `RequestServer`."""
        self._tracker = tracker
        self._path = path
        self._server = RequestServer(self._answer, commands, follow, recent)
        self._thread = BackgroundThread("status", self._run)
        self._listener: socket.socket | None = None
        self._problem = ""
        self._has_failed = False

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics."""
        self._tracker.report(statistics)
        self._thread.keep_running()

    def close(self) -> None:
        """Remove the socket."""
        if self._listener is not None:
            with contextlib.suppress(OSError):  # the thread may close it just now
                self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.finish(CLOSE_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with private_socket(self._path) as self._listener:
                    self._problem = ""
                    self._server.serve(self._listener, stop, POLL_SECONDS)
            except OSError as error:
                self._warn(error)
                stop.wait(RETRY_SECONDS)

    def _answer(self) -> str:
        try:
            return json.dumps(self._tracker.snapshot(), allow_nan=False)
        except Exception as error:
            # A question must not end the monitor, whatever it lacks.
            if not self._has_failed:
                self._has_failed = True
                logger.exception("the status document cannot be made")
            reason = f"the monitor cannot make its status document: {error!r:.200}"
            return json.dumps(no_answer(reason, running=True, pid=os.getpid()))

    def _warn(self, error: OSError) -> None:
        problem = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            problem = "another monitor answers there, or it is not a socket"
        if problem != self._problem:
            self._problem = problem
            logger.warning(
                "'status' cannot reach this monitor: %s: %s; set status.socket to "
                "another path",
                self._path,
                problem,
            )


@contextlib.contextmanager
def private_socket(path: Path) -> Iterator[socket.socket]:
    """Listen at `path` for this user alone; replace the socket of a dead process.

    Raises:
        OSError: It cannot be made; `EADDRINUSE`: another process listens, or there is a
            file of another kind.
    """
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        with socket_address(path) as (folder, name):
            _try_lock(folder)
            if path.is_socket() and not _is_alive(name):
                path.unlink()
            listener.bind(name)
            # Nobody can connect before `listen`, and so before the mode is set.
            path.chmod(MODE)
            listener.listen(BACKLOG)
            inode = path.stat().st_ino
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError), socket_address(path) as (folder, _):
                _try_lock(folder)
                if path.stat().st_ino == inode:  # else it is a successor's
                    path.unlink()


def _try_lock(folder: int) -> None:
    """Lock an open folder, unless that takes long or is impossible.

    Everyone who can read the folder can lock it, for ever; and some file systems have
    no locks.  Two monitors that start in the same moment may then clash.
    """
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            sleep(LOCK_PAUSE_SECONDS)
        except OSError:
            return


def _is_alive(name: str) -> bool:
    """Check that a process listens, even one that is stopped or busy."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(name)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True  # its backlog is full
    return True
