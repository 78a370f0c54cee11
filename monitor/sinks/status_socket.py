"""The sink that answers on a private socket how the monitor is doing.

A socket in the file system: made for one user, replaced only if nobody is there.

Where the private socket is: for the daemon that makes it, and for who asks.

Asking a monitor on its private socket how it is doing.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import socket
import stat
import struct
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic

from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_document import SCHEMA, Document, document, silence
from monitor.sinks.status_snapshot import Vitals
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)


if sys.platform != "win32":
    import fcntl

MODE = 0o600
FOLDER_MODE = 0o700
LONGEST_ADDRESS = 100
"""Bytes; Linux takes 107, others fewer."""

_WAITING = 8
_OWN_FILES = Path("/proc/self/fd")


class UnixSocket:
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


POLL_SECONDS = 0.25
RETRY_SECONDS = 5.0
ANSWER_SECONDS = 0.5
"""Longest time for one who asks and does not read."""

LAST_SECONDS = 0.5


class Status(Sink):
    """Writes to whoever connects one JSON document, and closes.

    It has a thread of its own, so it answers too when the worker hangs, and says that.
    Only the user of the monitor, and root, can connect.
    """

    def __init__(self, vitals: Vitals, path: Path) -> None:
        """Prepare; nothing is made before the first `report`.

        Args:
            vitals: What there is to tell.
            path: Of the socket.
        """
        self._vitals = vitals
        self._path = path
        self._background = BackgroundThread("status", self._run)
        self._listener: socket.socket | None = None
        self._problem = ""

    def report(self, statistics: Statistics) -> None:
        """Learn how the monitor is doing."""
        self._vitals.report(statistics)
        self._background.keep_running()

    def close(self) -> None:
        """Take the socket away."""
        listener = self._listener
        if listener is not None:
            with contextlib.suppress(OSError):  # The thread may close it just now.
                listener.shutdown(socket.SHUT_RDWR)
        self._background.finish(LAST_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        door = UnixSocket(self._path)
        while not stop.is_set():
            try:
                self._listener = door.open()
            except OSError as error:
                self._complain(error)
                stop.wait(RETRY_SECONDS)
                continue
            self._problem = ""
            try:
                self._serve(self._listener, stop)
            finally:
                door.close()

    def _serve(self, listener: socket.socket, stop: threading.Event) -> None:
        listener.settimeout(POLL_SECONDS)
        while not stop.is_set():
            try:
                visitor, _ = listener.accept()
                with visitor:
                    self._answer(visitor)
            except TimeoutError:
                continue
            except OSError:  # Who connected is gone, or no file can be opened now.
                stop.wait(POLL_SECONDS)

    def _answer(self, visitor: socket.socket) -> None:
        visitor.settimeout(ANSWER_SECONDS)
        told = json.dumps(document(self._vitals.snapshot()), allow_nan=False)
        visitor.sendall(told.encode("ascii") + b"\n")

    def _complain(self, error: OSError) -> None:
        if error.errno == errno.EADDRINUSE:
            problem = "another monitor answers there, or it is no socket"
        else:
            problem = error.strerror or str(error)
        if problem != self._problem:
            self._problem = problem
            logger.warning(
                "'status' cannot ask this monitor: %s: %s; set status.socket to "
                "another path",
                self._path,
                problem,
            )


NAME = "status.sock"
SERVICE_SOCKET = Path("/run/sound-monitor") / NAME
"""That of the service, as a shell sees it that has none of the unit's variables."""


def is_supported() -> bool:
    """Whether there are private sockets on this system."""
    return sys.platform != "win32"


def own_place(setting: str | None, state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Where a daemon makes its socket.

    Args:
        setting: `status.socket` of the configuration.
        state_dir: Folder for what the monitor writes.
        environ: Of the process.
    """
    return _places(setting, state_dir, environ)[0]


def places_to_ask(
    setting: str | None, state_dir: Path, environ: Mapping[str, str]
) -> list[Path]:
    """Where the socket of a daemon with the same settings may be, likeliest first.

    Who asks may have other variables than the daemon: from cron, or under another
    session.
    """
    places = _places(setting, state_dir, environ)
    return places if setting is not None else [*places, SERVICE_SOCKET]


def _places(
    setting: str | None, state_dir: Path, environ: Mapping[str, str]
) -> list[Path]:
    if setting is not None:
        return [state_dir / setting]
    places = []
    if environ.get("RUNTIME_DIRECTORY"):
        # A unit with several of them lists them with colons between.
        places.append(Path(environ["RUNTIME_DIRECTORY"].split(":")[0]) / NAME)
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        # Monitors of one user are told apart by where they write.
        mark = hashlib.sha256(str(state_dir).encode()).hexdigest()[:16]
        places.append(Path(runtime) / "sound-monitor" / f"{mark}.sock")
    return [*places, state_dir / NAME]


CLIENT_SECONDS = 1.2
"""A monitor that works answers in a few milliseconds."""

_MOST_BYTES = 2**24
_NOT_RUNNING = "the monitor is not running"


def inquire(places: Iterable[Path], seconds: float = CLIENT_SECONDS) -> Document:
    """What the first monitor at `places` says; else what can be said of its silence.

    Args:
        places: Paths of sockets, likeliest first.
        seconds: Longest time for an answer.
    """
    remains: Document | None = None
    places = list(places)
    for place in places:
        try:
            return _ask(place, seconds)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except ConnectionRefusedError:
            remains = remains or silence(
                f"{_NOT_RUNNING}; it was killed, for {place} is still there",
                running=False,
            )
        except PermissionError:
            return silence(
                f"{place} answers only the user of the monitor, and root; try it "
                "with sudo",
                running=None,
            )
        except OSError as error:
            return silence(f"{place} cannot be asked: {error.strerror}", running=None)
    if remains is not None:
        return remains
    looked = " or ".join(str(place) for place in places)
    return silence(f"{_NOT_RUNNING}: there is no {looked}", running=False)


def _ask(place: Path, seconds: float) -> Document:
    until = monotonic() + seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        pid = None
        try:
            with address(place) as name:
                connection.connect(name)
            pid = _pid(connection)
            told = json.loads(_read(connection, until))
        except (TimeoutError, BlockingIOError):
            return silence(_why_silent(pid, seconds), running=True, pid=pid)
        except (ValueError, ConnectionResetError):
            # It ended in the middle of a word, or is no monitor.
            return silence(f"{place} gave no answer that makes sense", running=None)
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        return silence(
            f"{place} answers in a form that this program does not know; it is of "
            "another version",
            running=True,
            pid=pid,
        )
    return told


def _read(connection: socket.socket, until: float) -> bytes:
    told = b""
    while len(told) <= _MOST_BYTES:
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        more = connection.recv(65_536)
        if not more:
            return told
        told += more
    raise ValueError("an answer without end")


def _why_silent(pid: int | None, seconds: float) -> str:
    name = "the monitor" if pid is None else f"the monitor (process {pid})"
    if pid is not None and _is_stopped(pid):
        return f"{name} is stopped by a signal: it does nothing until SIGCONT"
    return f"{name} hangs: it does not answer within {seconds:g} s"


def _pid(connection: socket.socket) -> int | None:
    """Of the process that listens."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    form = struct.Struct("3i")
    pid, _, _ = form.unpack(connection.getsockopt(socket.SOL_SOCKET, option, form.size))
    return int(pid) or None


def _is_stopped(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The name of the program stands in brackets and may hold anything.
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])
