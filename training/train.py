"""The training loop: batch, loss, step, report, evaluate, save.

`train` reads downwards.  `TrainState` is everything that a step changes, and so what a
checkpoint holds: a resumed run ends with the same weights, bit for bit.
"""

import copy
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from monitor.model.networks import Network
from training.checkpoint import Checkpoint, InterruptedTrainingError, RunFolder
from training.config import TrainingSettings
from training.distributed import SINGLE_PROCESS, Distributed
from training.losses import (
    TERMS,
    PreparedBatch,
    Student,
    compute_losses,
    prepare_batch,
)
from training.mixtures.dataset import BatchSource
from training.profile import timed, waiting
from training.progress import (
    Confusion,
    Display,
    EpochReport,
    Validate,
    ValidationResult,
)

if TYPE_CHECKING:
    from training.tensorboard import TensorBoardLog

_SHORTEST_SCHEDULE = 8
_COUNTS = ("steps", "loss", "right", "labelled")


def train(
    student: Student,
    source: BatchSource,
    labels: Sequence[str],
    settings: TrainingSettings,
    folder: RunFolder,
    display: Display,
    stop: threading.Event,
    validate: Validate | None = None,
    device: str = "cpu",
    distributed: Distributed = SINGLE_PROCESS,
    tensorboard: bool = False,
) -> Network:
    """Train a student; return its network with the averaged weights of the best epoch.

    Without validation the last epoch counts as the best: the learning rate has gone
    down to next to nothing by then, and the test fold must not choose.  Training
    continues from the checkpoint in `folder`, and ends after the step at which `stop`
    is set.

    Raises:
        InterruptedTrainingError: `stop` was set; the state is in `folder`.
    """
    per_epoch = source.steps_per_epoch
    steps = settings.optimiser.epochs * per_epoch
    student = student.to(device).to(memory_format=torch.channels_last)
    average = copy.deepcopy(student).requires_grad_(False)
    model = distributed.wrap(student, student.has_optional_heads)
    average.load_state_dict(student.state_dict())
    optimiser = build_optimiser(student, settings)
    schedule = build_schedule(optimiser, settings, steps)
    state = TrainState(student, average, optimiser, schedule)
    state.restore(distributed.broadcast(folder.read_checkpoint()))
    epochs_done = state.step // per_epoch
    folder.forget_after(epochs_done)
    display.begin()
    wants_events = tensorboard and folder.writes
    with (
        closing(source.batches(state.step, steps)) as batches,
        _events(wants_events, folder, labels, epochs_done) as events,
    ):
        for batch in waiting("waiting for windows", batches):
            r = _step_generator(settings.seed, state.step, distributed.rank)
            torch.manual_seed(int(r.integers(2**31)))  # dropout has no generator
            with timed("augmentation of features"):
                prepared = prepare_batch(r, batch, settings)
            with timed("forward"):
                student.train()
                terms, chosen = compute_losses(
                    student, prepared, settings, device, model
                )
                loss = torch.stack(list(terms.values())).sum()
            with timed("backward"):
                optimiser.zero_grad()
                loss.backward()
            with timed("optimiser"):
                clip_norm = settings.optimiser.clip_norm
                nn.utils.clip_grad_norm_(student.parameters(), clip_norm)
                optimiser.step()
                schedule.step()
                state.update_average(settings.optimiser.ema_decay)
                state.step += 1
                state.count(prepared, chosen, loss, terms, distributed)
            display.step(state.step, steps, state.mean("loss"), state.accuracy)
            if state.step % per_epoch == 0:
                epoch = state.step // per_epoch
                report, confusion = state.end_epoch(epoch, settings)
                if (result := _validation(validate, average, distributed)) is not None:
                    report.validation.update(result.figures)
                    confusion = result.confusion
                    if state.is_best(epoch, result.figures["accuracy"]):
                        folder.write_weights("best", average.state_dict())
                with timed("writing"):
                    folder.log(asdict(report))
                    display.epoch(report)
                    if events is not None:
                        events.epoch(report, confusion, prepared)
                    folder.write_checkpoint(state.checkpoint())
                if state.is_stalled(epoch, settings.patience):
                    break
            if distributed.any(stop.is_set()):
                folder.write_checkpoint(state.checkpoint())
                raise InterruptedTrainingError(
                    f"training was stopped after {state.step} of {steps} steps; "
                    f"--resume continues from {folder.path}"
                )
    if (best := distributed.broadcast(folder.read_weights("best"))) is not None:
        average.load_state_dict(best)
    return average.network.eval().cpu()


def _events(
    wanted: bool, folder: RunFolder, labels: Sequence[str], epochs_done: int
) -> "AbstractContextManager[TensorBoardLog | None]":
    if not wanted:
        return nullcontext()
    from training.tensorboard import TensorBoardLog

    return TensorBoardLog(folder, labels, epochs_done)


def _step_generator(seed: int, step: int, rank: int) -> np.random.Generator:
    """Generator of one step: a resumed run draws what an uninterrupted one draws."""
    place = [seed, 1, step]
    return np.random.default_rng([*place, rank] if rank else place)


def _validation(
    validate: Validate | None, average: Student, distributed: Distributed
) -> ValidationResult | None:
    """Validate in the main process; all processes end if that is interrupted."""
    if validate is None:
        return None
    own: ValidationResult | InterruptedTrainingError | None = None
    with timed("evaluation"):
        if distributed.is_main:
            try:
                own = validate(average.network.eval())
            except InterruptedTrainingError as error:
                own = error
        own = distributed.broadcast(own, stops=False)
    if isinstance(own, InterruptedTrainingError):
        raise own
    return own


def build_optimiser(student: Student, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW over the blocks and, with a learning rate of their own, the heads."""
    chosen, network = settings.optimiser, student.network
    heads = {
        id(parameter)
        for head in (network.head, network.column_head)
        for parameter in (head.parameters() if head is not None else ())
    }
    trained = [each for each in student.parameters() if each.requires_grad]
    rate = chosen.learning_rate
    groups = [
        {"params": [each for each in trained if id(each) not in heads], "lr": rate},
        {
            "params": [each for each in trained if id(each) in heads],
            "lr": rate * chosen.head_rate_factor,
        },
    ]
    return torch.optim.AdamW(groups, weight_decay=chosen.weight_decay)


def build_schedule(
    optimiser: torch.optim.Optimizer, settings: TrainingSettings, steps: int
) -> OneCycleLR:
    """The OneCycle schedule over `steps` steps."""
    # A rise of one step would be a division by zero.
    total = max(steps, _SHORTEST_SCHEDULE)
    return OneCycleLR(
        optimiser,
        [group["lr"] for group in optimiser.param_groups],
        total_steps=total,
        pct_start=max(settings.optimiser.warm_up_share, 2.5 / total),
        div_factor=10,
        final_div_factor=100,
    )


@dataclass
class TrainState:
    """The state that a training step changes."""

    student: Student
    average: Student
    """Moving average of the weights; the result of the training."""
    optimiser: torch.optim.Optimizer
    schedule: OneCycleLR
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Sums over the steps of this epoch."""
    best: float = -1.0
    best_epoch: int = 0
    confusion: Confusion = field(default_factory=list)
    """Confusion of the windows of this epoch that have one label."""

    _pairs: list[tuple[Tensor, Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        modules = self.average, self.student
        values = (module.state_dict().values() for module in modules)
        self._pairs = list(zip(*values, strict=True))

    _NUMBERS = ("step", "sums", "best", "best_epoch", "confusion")

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average towards the weights; quickly in the first steps."""
        keep = min(decay, (1 + self.step) / (10 + self.step))
        for mean, value in self._pairs:
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    def count(
        self,
        prepared: PreparedBatch,
        chosen: NDArray[np.intp],
        loss: Tensor,
        terms: Mapping[str, Tensor],
        distributed: Distributed,
    ) -> None:
        """Add the figures of a step in all processes to those of the epoch."""
        present = prepared.present
        labels = present.shape[1]
        single = present.sum(axis=1) == 1
        confusion = np.zeros((labels, labels))
        np.add.at(confusion, (present[single].argmax(axis=1), chosen[single]), 1)
        values = {"loss": loss, **terms}
        losses = [values[n].item() if n in values else 0.0 for n in ("loss", *TERMS)]
        right = float(present[np.arange(len(chosen)), chosen].sum())
        labelled = float(present.any(axis=1).sum())
        total = distributed.sum([*losses, right, labelled, *confusion.ravel().tolist()])
        losses, (right, labelled, *counts) = total[: len(losses)], total[len(losses) :]
        for name, value in zip(("loss", *TERMS), losses, strict=True):
            if name in values:
                self._add(name, value / distributed.count)
        self._add("steps", 1)
        self._add("right", right)
        self._add("labelled", labelled)
        before = np.array(self.confusion) if self.confusion else 0
        added = before + np.array(counts, int).reshape(labels, labels)
        self.confusion = added.tolist()

    def _add(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self, name: str) -> float:
        """Mean of a loss over the steps of this epoch so far."""
        return self.sums.get(name, 0.0) / max(self.sums.get("steps", 0.0), 1.0)

    @property
    def accuracy(self) -> float:
        """Share of this epoch's labelled windows that are right so far."""
        return self.sums.get("right", 0.0) / max(self.sums.get("labelled", 0.0), 1.0)

    def end_epoch(
        self, epoch: int, settings: TrainingSettings
    ) -> tuple[EpochReport, Confusion]:
        """Return the figures of the epoch, and begin another."""
        report = EpochReport(
            epoch=epoch,
            epochs=settings.optimiser.epochs,
            loss=self.mean("loss"),
            accuracy=self.accuracy,
            learning_rate=float(self.schedule.get_last_lr()[0]),
            parts={name: self.mean(name) for name in self.sums if name not in _COUNTS},
        )
        confusion = self.confusion
        self.sums, self.confusion = {}, []
        return report, confusion

    def is_best(self, epoch: int, accuracy: float) -> bool:
        """Add the accuracy of an epoch; return True if none was better before."""
        if accuracy <= self.best:
            return False
        self.best, self.best_epoch = accuracy, epoch
        return True

    def is_stalled(self, epoch: int, patience: int) -> bool:
        """True if validation has not improved for `patience` epochs."""
        return bool(
            patience and self.best_epoch and epoch - self.best_epoch >= patience
        )

    def checkpoint(self) -> Checkpoint:
        """Return everything from which training continues."""
        tensors: dict[str, Tensor] = {}
        for prefix, module in (("student", self.student), ("average", self.average)):
            for name, value in module.state_dict().items():
                tensors[f"{prefix}.{name}"] = value
        saved = self.optimiser.state_dict()
        for number, slots in saved["state"].items():
            for name, value in slots.items():
                tensors[f"optimiser.{number}.{name}"] = value
        facts = {
            "state": {name: getattr(self, name) for name in self._NUMBERS},
            "groups": saved["param_groups"],
            "schedule": self.schedule.state_dict(),
        }
        return Checkpoint(tensors, facts)

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Return to a checkpoint, if there is one."""
        if checkpoint is None:
            return
        self.student.load_state_dict(checkpoint.part("student"))
        self.average.load_state_dict(checkpoint.part("average"))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in checkpoint.part("optimiser").items():
            number, slot = name.split(".", 1)
            slots.setdefault(int(number), {})[slot] = value
        facts: dict[str, Any] = checkpoint.facts
        self.optimiser.load_state_dict(
            {"state": slots, "param_groups": facts["groups"]}
        )
        self.schedule.load_state_dict(facts["schedule"])
        for name in self._NUMBERS:
            setattr(self, name, facts["state"][name])
