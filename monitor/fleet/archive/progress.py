"""Progress of an archive: bars on a terminal, now and then a line elsewhere."""

import logging
import sys
import time
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from monitor.text import duration, printable

logger = logging.getLogger(__name__)

_LINE_SECONDS = 30.0
_NAME_CELLS = 40


@dataclass(slots=True)
class _Running:
    bar: TaskID
    size: int
    share: float = 0.0


class Display:
    """Bars of the whole run and of each recording that is being analysed.

    Both count bytes: the length of a recording is unknown before it is opened.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            speed_estimate_period=600,
        )
        self._whole = self._bars.add_task("recordings", total=None, figures="")
        self._running: dict[str, _Running] = {}
        self._files = self._finished = self._bytes = self._finished_bytes = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def expect(self, files: int, size: int) -> None:
        """Take the number of recordings to come, and their bytes in all."""
        self._files, self._bytes = files, size
        self._began = self._said = time.monotonic()
        self._bars.update(self._whole, total=max(size, 1), figures=f"0/{files}")

    def begin(self, name: str, size: int) -> None:
        """Show a bar for a recording."""
        shown = name if len(name) <= _NAME_CELLS else f"…{name[1 - _NAME_CELLS :]}"
        bar = self._bars.add_task(shown, total=1.0, figures="")
        self._running[name] = _Running(bar, size)

    def advance(self, name: str, share: float) -> None:
        """Show that a share of a recording has been analysed."""
        running = self._running[name]
        running.share = share
        self._bars.update(running.bar, completed=share)
        self._show_whole()

    def finish(self, name: str, size: int, error: str | None) -> None:
        """Remove the bar of a recording; print why it failed."""
        self.stop(name)
        self._finished += 1
        self._finished_bytes += size
        self._show_whole()
        if error is not None:
            self._print(error)
        self._say_how_far()

    def stop(self, name: str) -> None:
        """Remove the bar of a recording that waits again."""
        if (running := self._running.pop(name, None)) is not None:
            self._bars.remove_task(running.bar)

    @property
    def _done_bytes(self) -> float:
        going_on = sum(each.share * each.size for each in self._running.values())
        return self._finished_bytes + going_on

    def _show_whole(self) -> None:
        figures = f"{self._finished}/{self._files}"
        self._bars.update(self._whole, completed=self._done_bytes, figures=figures)

    def _print(self, sentence: str) -> None:
        line = f"sound-monitor: {printable(sentence)}"
        if self._bars.disable:
            sys.stderr.write(f"{line}\n")
        else:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _say_how_far(self) -> None:
        now = time.monotonic()
        if not self._bars.disable or now - self._said < _LINE_SECONDS:
            return
        self._said = now
        done = self._done_bytes
        left = (now - self._began) * (self._bytes - done) / max(done, 1)
        logger.info(
            "%d of %d recordings, %s of %s, about %s left",
            self._finished,
            self._files,
            decimal(round(done)),
            decimal(self._bytes),
            duration(left),
        )
