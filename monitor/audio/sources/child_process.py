"""A child process whose standard output is read and whose last errors are kept."""

import contextlib
import fcntl
import logging
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from monitor import subreaper
from monitor.errors import SourceError
from monitor.text import printable

logger = logging.getLogger(__name__)

_PIPE_BYTES = 2**20
_READ_BYTES = 2**14
"""Half a second of a recording at most is read at once, or what a reader asks for."""

_LAST_ERROR_BYTES = 16_384
_FLOOD_BYTES = 2_000
_LAST_ERROR_LINES = 3
_LAST_READS = 16
_FLOOD_PAUSE_SECONDS = 0.01

_GRACE_SECONDS = 1.0
"""Time from SIGTERM to SIGKILL: a subreaper needs it."""

_DEATH_SECONDS = 0.3
"""Time from SIGKILL to giving up: a process may hang in the kernel."""


class ChildProcess:
    """A running program, with everything that it starts.  Used by one thread.

    It runs below a subreaper.  Only with `keep_stdin_open` it does not: such a child
    must end with its standard input, which ends when the monitor ends, even if that was
    killed.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        keep_stdin_open: bool = False,
        script: bytes = b"",
    ) -> None:
        """Start `argv`, without a shell; raise `SourceError` if that fails.

        `script` is all that its standard input has, and fits into a pipe.
        """
        if shutil.which(argv[0]) is None:
            raise SourceError(f"{argv[0]!r} cannot be started: it is gone")
        script_end = _pipe_with(script) if script else subprocess.DEVNULL
        try:
            # A group of its own: Ctrl-C is for the monitor, which ends its children
            # itself.
            self._process = subprocess.Popen(  # noqa: S603 - the user's own command
                argv if keep_stdin_open else subreaper.command_line(argv),
                stdin=subprocess.PIPE if keep_stdin_open else script_end,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            raise SourceError(f"{argv[0]!r} cannot be started: {error}") from error
        finally:
            if script:
                os.close(script_end)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.pid = self._process.pid
        """Process id, which is also the id of the group; that of the subreaper."""
        self._stdout = self._process.stdout.fileno()
        self._stderr = self._process.stderr.fileno()
        self._errors = b""
        self._poll = select.poll()
        for descriptor in (self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        # The pipe is all there is between a late reader and lost samples.  More than
        # the usual 64 KiB may be refused to a user with many pipes, and not every
        # system can do it.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def read(self, timeout_seconds: float, enough: int = 1) -> bytes | None:
        """Read standard output until `enough` bytes have come, or the time is over.

        Returns:
            The bytes so far, maybe less than `enough`; None if nothing came; b"" if
            the process has closed its output.
        """
        deadline = time.monotonic() + timeout_seconds
        data = b""
        while len(data) < enough:
            left = deadline - time.monotonic()
            if self._stdout in self._ready(max(0.0, left)):
                part = os.read(self._stdout, max(enough, _READ_BYTES))
                if not part:
                    return data
                data += part
            if left <= 0:
                break
        return data or None

    @property
    def last_lines(self) -> list[str]:
        """The last lines of standard error, printable, as far as it was read."""
        return self.error_lines[-_LAST_ERROR_LINES:]

    @property
    def error_lines(self) -> list[str]:
        """The same of its last 16 KiB."""
        lines = self._errors.decode(errors="replace").splitlines()
        clean = [printable(line).strip() for line in lines]
        return [line for line in clean if line]

    def wait(self, timeout_seconds: float) -> int | None:
        """Wait for the end of the process, and read the rest of its errors.

        Returns:
            Its exit code; negative for a signal; None if it still runs.
        """
        exited = self._exits_within(timeout_seconds)
        for _ in range(_LAST_READS):
            if self._stderr not in self._ready(0):
                break
        return self._process.returncode if exited else None

    def ending(self, timeout_seconds: float) -> str | None:
        """Describe the end: "ended with exit code 1: ..."; None for code 0.

        Called after its output has ended.
        """
        code = self.wait(timeout_seconds)
        if code is None:
            # The subreaper may be waiting for what the program left running.
            self._terminate()
            code = self.wait(_GRACE_SECONDS)
            code = None if code == -signal.SIGTERM else code
        if code == 0:
            return None
        if code is None:
            ending = "closed its output"
        elif code < 0:
            ending = f"was killed by {_signal_name(-code)}"
        else:
            ending = f"ended with exit code {code}"
        return ": ".join(filter(None, [ending, "; ".join(self.last_lines)]))

    def close(self) -> None:
        """End everything: terminate, later kill.  Returns in 1.3 s."""
        self._terminate()
        if (
            not self._exits_within(_GRACE_SECONDS)
            # The subreaper is gone, but what it had to end may be there.
            or self._process.returncode == -signal.SIGKILL
            or not subreaper.IS_POSSIBLE
        ):
            self._signal_group(signal.SIGKILL)
        if not self._exits_within(_DEATH_SECONDS):
            logger.warning("process %d hangs and cannot be killed", self.pid)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _ready(self, timeout_seconds: float) -> set[int]:
        """Wait for either output; standard error is read at once."""
        ready = {descriptor for descriptor, _ in self._poll.poll(timeout_seconds * 1e3)}
        if self._stderr in ready:
            part = os.read(self._stderr, _READ_BYTES)
            if part:
                self._errors = (self._errors + part)[-_LAST_ERROR_BYTES:]
            else:
                self._poll.unregister(self._stderr)
            if len(part) > _FLOOD_BYTES and self._stdout not in ready:
                # A flood of errors would keep a processor busy; sound can wait in its
                # pipe for so long.
                time.sleep(_FLOOD_PAUSE_SECONDS)
        return ready

    def _exits_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _terminate(self) -> None:
        if subreaper.IS_POSSIBLE:  # it passes the signal on
            self._process.terminate()
        else:
            self._signal_group(signal.SIGTERM)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _pipe_with(script: bytes) -> int:
    """Return the reading end of a pipe that has `script`, and then ends."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    written = os.write(writing, script)
    os.close(writing)
    if written < len(script):
        os.close(reading)
        raise SourceError(f"its input is longer than {written} bytes")
    return reading


def _signal_name(number: int) -> str:
    """Return SIGKILL; or its number, for most real-time signals have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
