"""The subreaper: runs a program of the user's, and ends all that the program started.

    python -I -S subreaper.py PARENT KEEP ARGV...

A group of processes does not hold those that leave it with `setsid`, and nobody ends
the group of a monitor that was killed.  So each program runs below a small process to
which the kernel gives all its orphaned descendants, and which the kernel signals when
the monitor dies (`man 2 prctl`).  The monitor cannot be that process itself: it would
not know whose orphan is whose.

The file runs on its own and needs only the standard library, because it has to start
quickly.
"""

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence

TERMINATE_SECONDS = 0.3
"""Time from SIGTERM to SIGKILL."""

KILL_SECONDS = 0.6
"""Time from SIGKILL to giving up: a process may hang in the kernel."""

CANNOT_START = 127

IS_POSSIBLE = sys.platform == "linux" and bool(sys.executable)
"""False where programs run without a subreaper, and groups are all there is."""

_POLL_SECONDS = 0.01
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def command_line(argv: Sequence[str], *, keep: bool = False) -> list[str]:
    """Return the arguments that run `argv` below a subreaper; else `argv` itself.

    SIGTERM to that process ends everything that the program started, in a second; so
    does the end of the thread that starts it.  It exits as the program did, by itself;
    or by SIGTERM if that was ended.  Where the system has no subreapers, the program
    runs without.

    Args:
        argv: Program and arguments.
        keep: What the program leaves running when it ends may go on.  Otherwise the
            subreaper waits for its end.
    """
    if not IS_POSSIBLE:
        return list(argv)
    # Isolated and without site: it starts in a fraction of the time.
    ours = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(keep))]
    return [*ours, *argv]


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send a signal when the thread that started this process ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def _main(parent: int, *, keep: bool, argv: list[str]) -> None:
    """Run the program until its end; never returns."""
    # Blocked, they wait until they are asked for: none comes between two steps.
    signals = {*_ENDING, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)  # it died before
    program = _start(argv)
    # The ends of the pipes belong to the program alone, or they would never close.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    status: int | None = None
    while status is None or (not keep and _has_children()):
        number = signal.sigwait(signals)
        status = _reap().get(program, status)
        if number in _ENDING:
            _end_descendants()
            break
    _exit_like(signal.SIGTERM if status is None else status)


def _start(argv: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    die_with_parent(signal.SIGKILL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the user's own command, no shell
    except OSError as error:
        os.write(2, f"{argv[0]!r} cannot be started: {error}\n".encode())
    os._exit(CANNOT_START)


def _reap() -> dict[int, int]:
    """Collect the children that have ended, with their status."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = found[1]
    return ended


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _end_descendants() -> None:
    """Terminate them, and kill those that are left a moment later."""
    _signal_descendants(signal.SIGTERM)
    deadline = time.monotonic() + TERMINATE_SECONDS
    while _has_children() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        _reap()
    deadline = time.monotonic() + KILL_SECONDS
    # Orphans become children of this process, so none is left when that has none.
    while _has_children() and time.monotonic() < deadline:
        _signal_descendants(signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
        _reap()


def _signal_descendants(number: signal.Signals) -> None:
    parents = _parents()
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    for pid in found - {os.getpid()}:
        # It has just ended; or it has taken the rights of another user.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _parents() -> dict[int, int]:
    """Every process with its parent."""
    from pathlib import Path  # takes its time

    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            # The name of the program stands in brackets and may hold anything.
            parent = path.read_bytes().rpartition(b")")[2].split()[1]
            parents[int(path.parent.name)] = int(parent)
    return parents


def _exit_like(status: int) -> None:
    """End with the exit code or by the signal of `status`, as `waitpid` gives it."""
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(number, signal.SIG_DFL)  # SIGKILL has no handler
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os._exit(128 + number)


def _prctl(option: int, value: int) -> None:
    """Call prctl; where it is impossible, the process groups are all there is."""
    # Here, since it is the slowest of the modules, and the monitor does not need it.
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    _main(int(sys.argv[1]), keep=sys.argv[2] == "1", argv=sys.argv[3:])
