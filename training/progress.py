"""Progress of a run: bars on a terminal, a log line an epoch, TensorBoard."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

from monitor.model.networks import Network
from training.checkpoint import RunFolder
from training.losses import PreparedBatch
from training.report import pictures

logger = logging.getLogger(__name__)

Confusion = list[list[int]]
"""Counts; rows are the true labels, columns the highest scores."""


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Figures of a network on the validation folds."""

    figures: dict[str, float]
    """The epoch with the highest "accuracy" is the best."""
    confusion: Confusion


Validate = Callable[[Network], ValidationResult]


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


_SHOWN_WINDOWS = 12
_COLUMNS = 3
_MARGIN = 4


class TensorBoardLog:
    """Events for TensorBoard in the folder of a network.

    Args:
        folder: For `tensorboard --logdir`; nothing is written where it does not write.
        labels: Names.
        epochs_done: Training continues behind this epoch; TensorBoard drops what older
            files hold of later ones.
    """

    def __init__(
        self, folder: RunFolder, labels: Sequence[str], epochs_done: int
    ) -> None:
        self._labels = tuple(labels)
        self._writer: SummaryWriter | None = None
        if folder.writes:
            self._writer = SummaryWriter(str(folder.path), purge_step=epochs_done + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def epoch(
        self, report: EpochReport, confusion: Confusion, prepared: PreparedBatch
    ) -> None:
        """Write the figures and pictures of an epoch; they are on disk afterwards."""
        if (writer := self._writer) is None:
            return
        figures = {
            "training/loss": report.loss,
            "training/accuracy": report.accuracy,
            "training/learning_rate": report.learning_rate,
            **{f"loss/{name}": value for name, value in report.parts.items()},
            **{f"validation/{name}": v for name, v in report.validation.items()},
        }
        for name, value in figures.items():
            writer.add_scalar(name, value, report.epoch)
        kind = "validation" if report.validation else "training"
        figure = pictures.confusion_matrix(confusion, self._labels)
        writer.add_figure(f"{kind}/confusion", figure, report.epoch)
        writer.add_image(
            "training/windows with masks",
            _side_by_side(prepared.log_mel[:_SHOWN_WINDOWS, 0]),
            report.epoch,
            dataformats="HWC",
        )
        writer.flush()


def _side_by_side(windows: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw log-mels (n, n_mels, frames) as one picture, low bands at the bottom.

    A figure with axes would take half a second of each epoch.
    """
    count, n_mels, frames = windows.shape
    rows, columns = -(-count // _COLUMNS), min(count, _COLUMNS)
    size = (rows * (n_mels + _MARGIN), columns * (frames + _MARGIN), 3)
    picture = np.full(size, 255, np.uint8)
    for number, window in enumerate(windows):
        row, column = divmod(number, _COLUMNS)
        top, left = row * (n_mels + _MARGIN), column * (frames + _MARGIN)
        low, high = float(window.min()), float(window.max())
        shares = (window[::-1] - low) / max(high - low, 1e-6)
        colours = colormaps["magma"](shares, bytes=True)[..., :3]
        picture[top : top + n_mels, left : left + frames] = colours
    return picture
