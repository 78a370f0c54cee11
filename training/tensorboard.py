"""Figures and pictures of a training for TensorBoard.

Importing this takes a second or two, and drawing the pictures a fifth of a second an
epoch.
"""

from collections.abc import Sequence
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from training.checkpoint import RunFolder
from training.losses import PreparedBatch
from training.progress import Confusion, EpochReport
from training.report import pictures

_SHOWN_WINDOWS = 12


class TensorBoardLog:
    """Events for TensorBoard in the folder of a network.

    Args:
        folder: For `tensorboard --logdir`.
        labels: Names.
        epochs_done: Training continues behind this epoch; TensorBoard drops what older
            files hold of later ones.
    """

    def __init__(
        self, folder: RunFolder, labels: Sequence[str], epochs_done: int
    ) -> None:
        self._labels = tuple(labels)
        self._writer = SummaryWriter(str(folder.path), purge_step=epochs_done + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def epoch(
        self, report: EpochReport, confusion: Confusion, prepared: PreparedBatch
    ) -> None:
        """Write the figures and pictures of an epoch; they are on disk afterwards."""
        figures = {
            "training/loss": report.loss,
            "training/accuracy": report.accuracy,
            "training/learning_rate": report.learning_rate,
            **{f"loss/{name}": value for name, value in report.parts.items()},
            **{f"validation/{name}": v for name, v in report.validation.items()},
        }
        for name, value in figures.items():
            self._writer.add_scalar(name, value, report.epoch)
        kind = "validation" if report.validation else "training"
        figure = pictures.confusion_matrix(confusion, self._labels)
        self._writer.add_figure(f"{kind}/confusion", figure, report.epoch)
        self._writer.add_image(
            "training/windows with masks",
            pictures.side_by_side(prepared.log_mel[:_SHOWN_WINDOWS, 0]),
            report.epoch,
            dataformats="HWC",
        )
        self._writer.flush()
