"""What TensorBoard shows of a training: losses, accuracy, learning rate, pictures."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from training import pictures
from training.learning.watcher import EpochPicture, EpochReport

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
