"""Child processes of the web page: commands whose work would be too heavy for it."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from monitor.errors import SoundMonitorError
from monitor.own_command import own_command
from monitor.web.context import WebContext

MOST_AT_ONCE = 2
"""Children that run; further ones wait."""

MOST_WAITING = 10
MOST_OF_VISITOR = 2
"""Of both; a further one ends the oldest of the visitor."""

NICENESS = 15
"""The monitor, and all else on the machine, goes first."""

MAX_LINE_BYTES = 2**22
MAX_SENTENCE = 500

logger = logging.getLogger(__name__)


class ChildError(SoundMonitorError):
    """A child failed, ran too long, or gave way to a newer one."""


class SupersededError(ChildError):
    """A newer command of the same visitor has ended the child."""


class BusyError(ChildError):
    """Too many wait already."""


class Owner(NamedTuple):
    """Who wants a command, and which: a newer one for the same ends it."""

    visitor: str
    question: str = ""


class TimeLimitError(ChildError):
    """The child was ended at its time limit."""

    def __init__(self, seconds: float) -> None:
        """End it after so many seconds."""
        super().__init__(f"it took longer than {seconds:.0f} s")
        self.seconds = seconds


class Children:
    """Runs commands of the program.  Used by the event loop's thread."""

    def __init__(self, context: WebContext) -> None:
        """Run them with the configuration and the files of `context`."""
        self._file = context.config_file
        self._environ = {"STATE_DIRECTORY": str(context.state_dir)}
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._running: dict[Owner, asyncio.Task[None]] = {}

    async def run(
        self,
        owner: Owner,
        arguments: Sequence[str],
        take: Callable[[bytes], None],
        seconds: float,
    ) -> None:
        """Run a command; its lines of output are taken one by one.

        Args:
            owner: Who wants it, and what for.
            arguments: The subcommand and its options, but for --config.
            take: Called with each line.
            seconds: Longest time, waiting included.

        Raises:
            ChildError: The command failed, with its sentence, or was ended.
        """
        others = [
            each
            for each in self._running
            if each.visitor == owner.visitor and each != owner
        ]
        for each in (owner, *others[: 1 - MOST_OF_VISITOR]):
            if (before := self._running.pop(each, None)) is not None:
                before.cancel()
        if len(self._running) >= MOST_AT_ONCE + MOST_WAITING:
            raise BusyError("too many questions wait already")
        task = asyncio.create_task(self._run(arguments, take, seconds))
        self._running[owner] = task
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            await asyncio.wait({task})
            if self._running.get(owner) is task:
                del self._running[owner]
        if task.cancelled():
            raise SupersededError("a newer question was asked")
        task.result()

    async def _run(
        self, arguments: Sequence[str], take: Callable[[bytes], None], seconds: float
    ) -> None:
        chosen = [] if self._file is None else ["--config", str(self._file)]
        try:
            async with asyncio.timeout(seconds), self._slots:
                await _run([*arguments, *chosen], take, self._environ)
        except TimeoutError:
            raise TimeLimitError(seconds) from None


async def output_of(*arguments: str, seconds: float) -> bytes:
    """Run a command that needs no configuration; return what it prints.  Any loop.

    Raises:
        ChildError: The command failed, with its sentence, or took too long.
    """
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            await _run(arguments, lines.append, {})
    except TimeoutError:
        raise TimeLimitError(seconds) from None
    return b"".join(lines)


async def _run(
    arguments: Sequence[str],
    take: Callable[[bytes], None],
    environ: Mapping[str, str],
) -> None:
    argv, environment = own_command(*arguments)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            env={**environment, **environ},
        )
    except (OSError, ValueError) as error:  # ValueError: a zero in an argument
        reason = getattr(error, "strerror", error)
        raise ChildError(f"it cannot be started: {reason}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    try:
        _give_way(process.pid)
        async for line in process.stdout:
            take(line)
        said, code = await errors, await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.stdout.read()
            await errors
            await process.wait()
    if code:
        raise ChildError(_sentence(said) or f"it ended with the exit code {code}")


def _give_way(process: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, process, NICENESS)
    except ProcessLookupError:
        pass  # it has ended
    except OSError as error:
        logger.warning("a child process does not give way: %s", error.strerror)


def _sentence(said: bytes) -> str:
    """Return the sentence of a command that failed, without its own prefix."""
    lines = said.decode(errors="replace").strip().splitlines()
    text = lines[-1] if lines else ""
    return text.removeprefix("sound-monitor: ").removeprefix("error: ")[:MAX_SENTENCE]
