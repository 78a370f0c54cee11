"""How a run is going, for people: bars on a terminal, one line an epoch elsewhere."""

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from training.learning.watcher import EpochPicture, EpochReport

logger = logging.getLogger(__name__)


class Display:
    """Bars for what is being done, and a line for every epoch.

    Bars are drawn on a terminal only; the lines go to the log.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self.title = "training"
        self._last_epoch = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def advance(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done of what is named."""
        self._show(what, done, total, "")

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """Show one step of training."""
        self._show(self.title, step, steps, f"loss {loss:.3f} accuracy {accuracy:.3f}")

    def go_on(self, _: int) -> None:
        """Begin to count the time."""
        self._last_epoch = time.monotonic()

    def epoch(self, report: EpochReport, _: EpochPicture) -> None:
        """Tell how an epoch went."""
        now = time.monotonic()
        said = "".join(
            f", {name} {value:.3f}"
            for name, value in {**report.parts, **report.validation}.items()
        )
        logger.info(
            "%s: epoch %d of %d: loss %.3f, accuracy %.3f%s (%.0f s)",
            self.title,
            report.epoch,
            report.epochs,
            report.loss,
            report.accuracy,
            said,
            now - self._last_epoch,
        )
        self._last_epoch = now

    def _show(self, what: str, done: int, total: int, figures: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, figures="")
        task = self._tasks[what]
        self._bars.update(task, completed=done, total=total, figures=figures)
        if done >= total:
            self._bars.remove_task(task)
            del self._tasks[what]
