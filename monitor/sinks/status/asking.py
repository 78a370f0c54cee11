"""Asking a monitor on its private socket how it is doing."""

import json
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

from monitor.sinks.status.door import address
from monitor.sinks.status.schema import SCHEMA, Document, silence

ANSWER_SECONDS = 1.2
"""A monitor that works answers in a few milliseconds."""

_MOST_BYTES = 2**24
_NOT_RUNNING = "the monitor is not running"


def inquire(places: Iterable[Path], seconds: float = ANSWER_SECONDS) -> Document:
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
