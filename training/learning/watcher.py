"""What a training tells while it goes on, and who listens."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from monitor.model.network import Network
from training.learning.losses import Task


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
