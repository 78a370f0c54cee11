"""Child processes of the web page: commands whose work would be too heavy for it."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from monitor.errors import SoundMonitorError
from monitor.web.context import WebContext

MOST_AT_ONCE = 2
"""Children that run; further ones wait."""

NICENESS = 15
"""The monitor, and all else on the machine, goes first."""

MAX_LINE_BYTES = 2**22
MAX_SENTENCE = 500


class ChildError(SoundMonitorError):
    """A child failed, ran too long, or gave way to a newer one."""


class Children:
    """Runs commands of the program.  Used by the event loop's thread."""

    def __init__(self, context: WebContext) -> None:
        """Run them with the configuration and the files of `context`."""
        self._file = context.config_file
        self._environ = {**os.environ, "STATE_DIRECTORY": str(context.state_dir)}
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(
        self,
        owner: str,
        arguments: Sequence[str],
        take: Callable[[bytes], None],
        seconds: float,
    ) -> None:
        """Run a command; its lines of output are taken one by one.

        Args:
            owner: Who wants it: an earlier command of the same owner is ended.
            arguments: The subcommand and its options, but for --config.
            take: Called with each line.
            seconds: Longest time, waiting included.

        Raises:
            ChildError: The command failed, with its sentence, or was ended.
        """
        if (before := self._running.pop(owner, None)) is not None:
            before.cancel()
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
            raise ChildError("a newer question was asked")
        task.result()

    async def _run(
        self, arguments: Sequence[str], take: Callable[[bytes], None], seconds: float
    ) -> None:
        try:
            async with asyncio.timeout(seconds), self._slots:
                await self._run_now(arguments, take)
        except TimeoutError:
            raise ChildError(f"it took longer than {seconds:.0f} s") from None

    async def _run_now(
        self, arguments: Sequence[str], take: Callable[[bytes], None]
    ) -> None:
        chosen = [] if self._file is None else ["--config", str(self._file)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "monitor", *arguments, *chosen),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            env=self._environ,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.create_task(process.stderr.read())
        try:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
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


def _sentence(said: bytes) -> str:
    """Return the sentence of a command that failed, without its own prefix."""
    lines = said.decode(errors="replace").strip().splitlines()
    text = lines[-1] if lines else ""
    return text.removeprefix("sound-monitor: ").removeprefix("error: ")[:MAX_SENTENCE]


def modified(*files: Path | None) -> Mapping[str, int]:
    """Return when files were changed, for what is kept as long as they are not."""
    times = {}
    for file in files:
        with contextlib.suppress(OSError):
            if file is not None:
                times[str(file)] = file.stat().st_mtime_ns
    return times
