"""The unix socket that serves the status document, and the client that reads it."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import TypeGuard

from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_snapshot import SCHEMA, Document, StatusTracker
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

NAME = "status.sock"
SERVICE_SOCKET = Path("/run/sound-monitor") / NAME
"""The socket of the service, for a shell that lacks the variables of its unit."""

MODE = 0o600
FOLDER_MODE = 0o700
MAX_ADDRESS_BYTES = 100
"""Linux takes 107, others fewer."""

BACKLOG = 8
POLL_SECONDS = 0.25
RETRY_SECONDS = 5.0
ANSWER_SECONDS = 0.5
"""Longest time for a client that connects and does not read."""

LOCK_TRIES = 10
LOCK_PAUSE_SECONDS = 0.02
CLOSE_SECONDS = 0.5
CLIENT_SECONDS = 1.2
"""A monitor that works answers in a few milliseconds."""

MAX_ANSWER_BYTES = 2**24


def server_path(
    setting: str | None, state_dir: Path, environ: Mapping[str, str]
) -> Path:
    """Path at which a daemon makes its socket; `setting` is `status.socket`."""
    return _paths(setting, state_dir, environ)[0]


def client_paths(
    setting: str | None, state_dir: Path, environ: Mapping[str, str]
) -> list[Path]:
    """Paths of the socket of a daemon with the same settings, likeliest first.

    A client may have other environment variables than the daemon: in cron, or in
    another session.
    """
    paths = _paths(setting, state_dir, environ)
    return paths if setting is not None else [*paths, SERVICE_SOCKET]


def _paths(
    setting: str | None, state_dir: Path, environ: Mapping[str, str]
) -> list[Path]:
    if setting is not None:
        return [state_dir / setting]
    paths = []
    if environ.get("RUNTIME_DIRECTORY"):
        # systemd separates several folders by colons.
        paths.append(Path(environ["RUNTIME_DIRECTORY"].split(":")[0]) / NAME)
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        # Monitors of one user differ by their state folder.
        digest = hashlib.sha256(str(state_dir).encode()).hexdigest()[:16]
        paths.append(Path(runtime) / "sound-monitor" / f"{digest}.sock")
    return [*paths, state_dir / NAME]


class StatusSocket(Sink):
    """Writes one JSON document to each client that connects, and closes.

    Its own thread answers also while the worker hangs.  Only the user of the monitor,
    and root, can connect.
    """

    def __init__(self, tracker: StatusTracker, path: Path) -> None:
        """Make nothing before the first `report`."""
        self._tracker = tracker
        self._path = path
        self._thread = BackgroundThread("status", self._run)
        self._listener: socket.socket | None = None
        self._problem = ""

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
                    self._serve(self._listener, stop)
            except OSError as error:
                self._warn(error)
                stop.wait(RETRY_SECONDS)

    def _serve(self, listener: socket.socket, stop: threading.Event) -> None:
        listener.settimeout(POLL_SECONDS)
        while not stop.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:  # no file can be opened now
                stop.wait(POLL_SECONDS)
                continue
            # A client that is gone, or does not read, delays the next one no longer.
            with client, contextlib.suppress(OSError):
                client.settimeout(ANSWER_SECONDS)
                text = json.dumps(self._tracker.snapshot(), allow_nan=False)
                client.sendall(text.encode("ascii") + b"\n")

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
        with _address(path, lock=True) as name:
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
            with contextlib.suppress(OSError), _address(path, lock=True):
                if path.stat().st_ino == inode:  # else it is a successor's
                    path.unlink()


@contextlib.contextmanager
def _address(path: Path, *, lock: bool = False) -> Iterator[str]:
    """Open the folder of a socket, and yield a name that is short enough for it.

    With `lock`, other monitors do not change sockets in the folder meanwhile.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if lock:
            _try_lock(folder)
        is_long = len(os.fsencode(path)) > MAX_ADDRESS_BYTES
        yield f"/proc/self/fd/{folder}/{path.name}" if is_long else str(path)
    finally:
        os.close(folder)


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


def no_answer(
    sentence: str, *, running: bool | None, pid: int | None = None
) -> Document:
    """The document in place of a monitor that does not answer; None: unknown."""
    return {
        "schema": SCHEMA,
        "running": running,
        "listening": False,
        "sentence": sentence,
        "pid": pid,
    }


def query_status(
    paths: Iterable[Path], timeout_seconds: float = CLIENT_SECONDS
) -> Document:
    """Read the status document of the first monitor at `paths`, likeliest first.

    Returns:
        The document, or that of `no_answer` with the reason.
    """
    killed: Document | None = None
    paths = list(paths)
    for path in paths:
        try:
            return _query(path, timeout_seconds)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except ConnectionRefusedError:
            sentence = (
                f"the monitor is not running; it was killed, for {path} is still there"
            )
            killed = killed or no_answer(sentence, running=False)
        except PermissionError:
            return no_answer(
                f"{path} answers only the user of the monitor, and root; try it with "
                "sudo",
                running=None,
            )
        except OSError as error:
            return no_answer(f"{path} cannot be read: {error.strerror}", running=None)
    places = " or ".join(str(path) for path in paths)
    return killed or no_answer(
        f"the monitor is not running: there is no {places}", running=False
    )


def _query(path: Path, timeout_seconds: float) -> Document:
    deadline = monotonic() + timeout_seconds
    pid = None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_seconds)
        try:
            with _address(path) as name:
                connection.connect(name)
            pid = _pid(connection)
            answer = json.loads(_read(connection, deadline))
        except (TimeoutError, BlockingIOError):
            name = "the monitor" if pid is None else f"the monitor (process {pid})"
            if pid is not None and _is_stopped(pid):
                reason = "is stopped by a signal: it does nothing until SIGCONT"
            else:
                reason = f"hangs: it does not answer within {timeout_seconds:g} s"
            return no_answer(f"{name} {reason}", running=True, pid=pid)
        except (ValueError, RecursionError, ConnectionResetError):
            return no_answer(f"{path} gave no answer that makes sense", running=None)
    if _is_document(answer):
        return answer
    return no_answer(
        f"{path} answers in a form that this program does not know; it is of another "
        "version",
        running=True,
        pid=pid,
    )


def _is_document(answer: object) -> TypeGuard[Document]:
    """Return True if an answer has what every version says."""
    return (
        isinstance(answer, dict)
        and answer.get("schema") == SCHEMA
        and isinstance(answer.get("running"), bool)
        and isinstance(answer.get("listening"), bool)
        and isinstance(answer.get("sentence"), str)
    )


def _read(connection: socket.socket, deadline: float) -> bytes:
    answer = b""
    while len(answer) <= MAX_ANSWER_BYTES:
        remaining = deadline - monotonic()
        if remaining <= 0:
            raise TimeoutError
        connection.settimeout(remaining)
        block = connection.recv(65_536)
        if not block:
            return answer
        answer += block
    raise ValueError("an answer without end")


def _pid(connection: socket.socket) -> int | None:
    """Process that listens; None where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    form = struct.Struct("3i")  # pid, uid, gid
    peer = connection.getsockopt(socket.SOL_SOCKET, option, form.size)
    return int(form.unpack(peer)[0]) or None


def _is_stopped(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The name of the program stands in brackets and may hold anything.
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])
