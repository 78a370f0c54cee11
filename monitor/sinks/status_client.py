"""The client of the status socket: where it is, its document and its commands.

Imports nothing that takes time: `status` is asked by scripts and health checks.
"""

import contextlib
import hashlib
import json
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeGuard

from monitor.errors import SoundMonitorError
from monitor.statistics import FRESH_SECONDS

SCHEMA = 1

Document = dict[str, Any]


class NoMonitorError(SoundMonitorError):
    """No monitor listens at any of the paths, or it closes: nothing was done."""


NAME = "status.sock"
SERVICE_SOCKET = Path("/run/sound-monitor") / NAME
"""The socket of the service, for a shell that lacks the variables of its unit."""

MAX_ADDRESS_BYTES = 100
"""Linux takes 107, others fewer."""

CLIENT_SECONDS = 1.2
"""A monitor that works answers in a few milliseconds."""

RETRY_SECONDS = 0.1
RELOAD_SECONDS = 1.5
"""A monitor that reloads has no socket for a moment; a command waits for it so long,
from the moment at which it missed it.
"""

COMMAND_SECONDS = 12.0
"""The monitor answers a command within 10 s."""

TRIES = 3
"""Of a request that a busy machine sent too late."""

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


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[tuple[int, str]]:
    """Open the folder of a socket; yield its descriptor, and a name short enough."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        is_long = len(os.fsencode(path)) > MAX_ADDRESS_BYTES
        name = f"/proc/self/fd/{folder}/{path.name}" if is_long else str(path)
        yield folder, name
    finally:
        os.close(folder)


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


def silent_since(status: Mapping[str, Any]) -> dict[str, datetime] | None:
    """Return the sources of a document that have been silent for a while.

    Each with its latest sample; one that never had any, with the start of the monitor.
    None: no monitor is known to run.
    """
    if status["running"] is not True:
        return None
    fresh = datetime.fromisoformat(status["time"]) - timedelta(seconds=FRESH_SECONDS)
    found = {
        each["name"]: datetime.fromisoformat(each["last_sample"] or status["since"])
        for each in status.get("sources", ())
        if not each["listening"] and each["state"] != "ended"
    }
    # One that begins, or whose samples arrive and show nothing, is not silent.
    return {name: since for name, since in found.items() if since <= fresh}


def _query(path: Path, timeout_seconds: float) -> Document:
    deadline = monotonic() + timeout_seconds
    pid = None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_seconds)
        try:
            with socket_address(path) as (_, name):
                connection.connect(name)
            pid = _pid(connection)
            _ask(connection, {"request": "status"})
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


def ask_command(
    paths: Iterable[Path], name: str, arguments: Mapping[str, Any]
) -> Document:
    """Have the first monitor at `paths` do a command; return its result.

    Raises:
        SoundMonitorError: No monitor answers, or it has not done it; with its sentence.
    """
    paths, deadline = list(paths), None
    while True:
        try:
            return _result(
                paths, {"request": "command", "name": name, "arguments": arguments}
            )
        except NoMonitorError:
            deadline = deadline or monotonic() + RELOAD_SECONDS
            if monotonic() >= deadline:
                raise
            sleep(RETRY_SECONDS)


def ask_recent(paths: Iterable[Path]) -> Document:
    """Return the newest levels and columns of the first monitor at `paths`.

    Raises:
        SoundMonitorError: No monitor answers, or it is of an older version.
    """
    return _result(paths, {"request": "recent"})


def _result(paths: Iterable[Path], request: Document) -> Document:
    paths = list(paths)
    for _ in range(TRIES):
        answer = _answer_to(paths, request)
        match answer:
            case {"ok": True, "result": dict(result)}:
                return result
            case {"ok": False, "sentence": str(sentence), "again": True}:
                raise NoMonitorError(sentence)
            case {"ok": False, "sentence": str(sentence)}:
                raise SoundMonitorError(sentence)
        # A client that could not send its request soon enough gets the status: the
        # request is not carried out, and can be sent again.
        if not _is_document(answer):
            break
    raise SoundMonitorError(
        "the monitor gave no answer that makes sense; it is of another version"
    )


def _answer_to(paths: Iterable[Path], request: Document) -> object:
    with _connected(paths, COMMAND_SECONDS) as connection:
        deadline = monotonic() + COMMAND_SECONDS
        try:
            _ask(connection, request)
            answer = _read(connection, deadline)
        except TimeoutError:
            raise SoundMonitorError(
                f"the monitor does not answer within {COMMAND_SECONDS:g} s"
            ) from None
        except OSError:
            answer = b""
        except ValueError:
            return None
    if not answer:
        # Every command that has begun is answered: this one has not.
        raise NoMonitorError("the monitor stops or reloads: try it again")
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


@contextlib.contextmanager
def _connected(
    paths: Iterable[Path], timeout_seconds: float
) -> Iterator[socket.socket]:
    """Connect to the first monitor at `paths`.

    Raises:
        SoundMonitorError: There is none.
    """
    problem = "the monitor is not running"
    for path in paths:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_seconds)
            try:
                with socket_address(path) as (_, name):
                    connection.connect(name)
            except PermissionError:
                raise SoundMonitorError(
                    f"{path} answers only the user of the monitor, and root; try it "
                    "with sudo"
                ) from None
            except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
                continue
            except OSError as error:
                problem = f"{path} cannot be connected to: {error}"
                continue
            yield connection
            return
    raise NoMonitorError(problem)


def _ask(connection: socket.socket, request: Document) -> None:
    # A monitor of an older version answers at once, and may have closed already.
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(json.dumps(request).encode("ascii") + b"\n")


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
        try:
            block = connection.recv(65_536)
        except ConnectionResetError:  # it closed without reading the request
            if not answer:
                raise
            return answer
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
