"""How a run is going, for people: bars on a terminal, one line an epoch elsewhere.

What a training tells while it goes on, and who listens.

What TensorBoard shows of a training: losses, accuracy, learning rate, pictures.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

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

from monitor.model.networks.build import Network
from training import pictures
from training.losses import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    """How a network did on recordings kept apart for choosing."""

    figures: dict[str, float]
    """The highest "accuracy" is the best."""
    confusion: list[list[int]]
    """Rows are the truth, columns what was heard."""


Validate = Callable[[Network], Checked]


@dataclass(frozen=True, slots=True)
class EpochReport:
    """How one epoch went."""

    epoch: int
    """From 1."""
    epochs: int
    loss: float
    accuracy: float
    """Share of windows with a label whose highest score is one of theirs."""
    learning_rate: float
    parts: dict[str, float]
    """The terms of the loss."""
    validation: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EpochPicture:
    """What there is to be drawn of an epoch."""

    confusion: list[list[int]]
    """Of the recordings kept apart for choosing, else of the training windows with one
    label; rows are the truth, columns what was heard."""
    is_validation: bool
    task: Task
    """The last batch, as the network got it."""


class Watcher(Protocol):
    """Is told how training goes; a progress bar, for instance."""

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """One step is done; the figures are means over the epoch so far."""

    def epoch(self, report: EpochReport, picture: EpochPicture) -> None:
        """One epoch is done, and its checkpoint not yet written."""

    def go_on(self, epoch: int) -> None:
        """Training goes on behind that epoch; later ones come again."""


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


_SHOWN = 12
_COLUMNS = 3
_MARGIN = 4


class Board:
    """Writes events for TensorBoard into the folder of a network; a watcher of its own.

    Args:
        folder: Where `tensorboard --logdir` finds them.
        labels: Names.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._folder = folder
        self._labels = tuple(labels)
        self._writer: SummaryWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def go_on(self, epoch: int) -> None:
        """Begin a file; readers forget what older ones hold of later epochs."""
        self._writer = SummaryWriter(str(self._folder), purge_step=epoch + 1)

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """Epochs are shown, not steps."""

    def epoch(self, report: EpochReport, picture: EpochPicture) -> None:
        """Write the figures and pictures of an epoch; they are on disk afterwards."""
        writer = self._writer
        assert writer is not None, "training says where it goes on first"
        figures = {
            "training/loss": report.loss,
            "training/accuracy": report.accuracy,
            "training/learning_rate": report.learning_rate,
            **{f"loss/{name}": value for name, value in report.parts.items()},
            **{f"validation/{name}": v for name, v in report.validation.items()},
        }
        for name, value in figures.items():
            writer.add_scalar(name, value, report.epoch)
        of = "validation" if picture.is_validation else "training"
        confusion = pictures.confusion_matrix(picture.confusion, self._labels)
        writer.add_figure(f"{of}/confusion", confusion, report.epoch)
        writer.add_image(
            "training/windows with masks",
            _side_by_side(picture.task.log_mel[:_SHOWN, 0]),
            report.epoch,
            dataformats="HWC",
        )
        writer.flush()


def _side_by_side(windows: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Log-mels (n, n_mels, frames) as one picture; low bands at the bottom of each.

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
