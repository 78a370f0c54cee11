"""Progress of a run: bars on a terminal, lines of the log elsewhere."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from monitor.model.networks import Network

logger = logging.getLogger(__name__)

Confusion = list[list[int]]
"""Counts; rows are the true labels, columns the highest scores."""


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Figures of a network on the validation folds."""

    figures: dict[str, float]
    """The epoch with the highest "accuracy" is the best."""
    confusion: Confusion


Validate = Callable[["Network"], ValidationResult]


@dataclass(frozen=True, slots=True)
class EpochReport:
    """Figures of one epoch; a line of metrics.jsonl."""

    epoch: int
    """Number of the epoch, from 1."""
    epochs: int
    loss: float
    accuracy: float
    """Share of the labelled windows whose highest score is one of their labels."""
    learning_rate: float
    parts: dict[str, float]
    """The terms of the loss."""
    validation: dict[str, float] = field(default_factory=dict)


class Display:
    """Bars on a terminal, and a log line for every epoch."""

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
        self._announced: set[tuple[str, str]] = set()
        self.title = "training"
        self._last_epoch = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def advance(self, what: str, done: int, total: int, figures: str = "") -> None:
        """Show that `done` of `total` are done."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, figures="")
        task = self._tasks[what]
        self._bars.update(task, completed=done, total=total, figures=figures)
        if done >= total:
            self._bars.remove_task(task)
            del self._tasks[what]

    def announce(self, what: str) -> None:
        """Log once that a work of this title began, where no bar shows it."""
        work = (self.title, what)
        if self._bars.disable and work not in self._announced:
            self._announced.add(work)
            logger.info("%s: %s", *work)

    def begin(self) -> None:
        """Begin to count the time of an epoch."""
        self._last_epoch = time.monotonic()

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """Show one step of training; the figures are means over the epoch so far."""
        figures = f"loss {loss:.3f} accuracy {accuracy:.3f}"
        self.advance(self.title, step, steps, figures)

    def epoch(self, report: EpochReport) -> None:
        """Log the figures of an epoch."""
        # A single part is the loss itself.
        terms = report.parts if len(report.parts) > 1 else {}
        parts = {
            **terms,
            **{f"validation {k}": v for k, v in report.validation.items()},
        }
        logger.info(
            "%s: epoch %d of %d: loss %.3f, accuracy %.3f%s (%.0f s)",
            self.title,
            report.epoch,
            report.epochs,
            report.loss,
            report.accuracy,
            "".join(f", {name} {value:.3f}" for name, value in parts.items()),
            time.monotonic() - self._last_epoch,
        )
        self.begin()
