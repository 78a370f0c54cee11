"""Training, from top to bottom: batch, loss, step, average, validate, save."""

import copy
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from monitor.errors import SoundMonitorError
from monitor.model.network import Network
from training.checkpoint import Checkpoint, RunFolder
from training.config import TrainingSettings
from training.dataset import Batch, BatchSource
from training.losses import losses_of, prepare
from training.student import Student

_SHORTEST_SCHEDULE = 8

Validate = Callable[[Network], dict[str, float]]


class InterruptedTrainingError(SoundMonitorError):
    """Training was stopped; its state is on disk, and `--resume` goes on."""


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


class Watcher(Protocol):
    """Is told how training goes; a progress bar, for instance."""

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """One step is done; the figures are means over the epoch so far."""

    def epoch(self, report: EpochReport) -> None:
        """One epoch is done."""


@dataclass
class _State:
    """Where training stands, beside its tensors."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Over the steps of this epoch."""
    best: float = -1.0
    best_epoch: int = 0

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self, name: str, of: str = "steps") -> float:
        return self.sums.get(name, 0.0) / max(self.sums.get(of, 0.0), 1.0)


class _Session:
    """The student, the average of its weights, and what moves them."""

    def __init__(
        self, student: Student, settings: TrainingSettings, steps: int, device: str
    ) -> None:
        self.settings = settings
        self.device = device
        self.student = student.to(device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self.optimiser = _optimiser(self.student, settings)
        # A rise of one step would be a division by zero.
        total = max(steps, _SHORTEST_SCHEDULE)
        self.schedule = OneCycleLR(
            self.optimiser,
            [group["lr"] for group in self.optimiser.param_groups],
            total_steps=total,
            pct_start=max(settings.optimiser.warm_up_share, 2.5 / total),
            div_factor=10,
            final_div_factor=100,
        )
        self.state = _State()

    def step(self, batch: Batch) -> None:
        """Learn from one batch."""
        settings, state = self.settings, self.state
        # Every draw belongs to its step, so a resumed run draws what this one would.
        r = np.random.default_rng([settings.seed, 1, state.step])
        torch.manual_seed(int(r.integers(2**31)))
        lesson = prepare(r, batch, settings)
        parts, right, asked = losses_of(
            self.student.train(), lesson, settings, self.device
        )
        loss = torch.stack(list(parts.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(
            self.student.parameters(), settings.optimiser.clip_norm
        )
        self.optimiser.step()
        self.schedule.step()
        self._follow()
        state.step += 1
        terms = {name: value.item() for name, value in parts.items()}
        state.add(steps=1, loss=loss.item(), right=right, asked=asked, **terms)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; quickly in the first steps."""
        step = self.state.step
        keep = min(self.settings.optimiser.ema_decay, (1 + step) / (10 + step))
        pairs = zip(
            self.average.state_dict().values(),
            self.student.state_dict().values(),
            strict=True,
        )
        for mean, value in pairs:
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    def checkpoint(self) -> Checkpoint:
        """Everything from which training goes on."""
        tensors: dict[str, Tensor] = {}
        for prefix, module in (("student", self.student), ("average", self.average)):
            for name, value in module.state_dict().items():
                tensors[f"{prefix}.{name}"] = value
        saved = self.optimiser.state_dict()
        for number, slots in saved["state"].items():
            for name, value in slots.items():
                tensors[f"optimiser.{number}.{name}"] = value
        facts = {
            "state": asdict(self.state),
            "groups": saved["param_groups"],
            "schedule": self.schedule.state_dict(),
        }
        return Checkpoint(tensors, facts)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where the checkpoint was made."""
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
        self.state = _State(**facts["state"])


def fit(
    student: Student,
    source: BatchSource,
    settings: TrainingSettings,
    folder: RunFolder,
    watcher: Watcher,
    stop: threading.Event,
    validate: Validate | None = None,
    device: str = "cpu",
) -> Network:
    """Train a student; return its network with the averaged weights of the best epoch.

    Without validation the last epoch counts as the best: the learning rate has gone
    down to next to nothing by then, and the test fold must not choose.

    Args:
        student: With fresh weights, or whatever training shall start from.
        source: The batches of each step.
        settings: Of the run.
        folder: Gets checkpoints and metrics; training goes on from the checkpoint
            that is in it.
        watcher: Is told of every step and epoch.
        stop: Ends training after the step that is being made.
        validate: Figures of a network on recordings kept apart for choosing; the
            highest "accuracy" is the best.
        device: Name of the processor.

    Raises:
        InterruptedTrainingError: `stop` was set; the state is in `folder`.
    """
    steps = settings.optimiser.epochs * source.steps_per_epoch
    session = _Session(student, settings, steps, device)
    if (checkpoint := folder.read_checkpoint()) is not None:
        session.restore(checkpoint)
        folder.forget_after(session.state.step // source.steps_per_epoch)
    state = session.state
    for batch in source.batches(state.step, steps):
        session.step(batch)
        watcher.step(
            state.step, steps, state.mean("loss"), state.mean("right", "asked")
        )
        if state.step % source.steps_per_epoch == 0:
            report = _end_epoch(session, source, folder, validate)
            watcher.epoch(report)
            if _stalled(state, report.epoch, settings):
                break
        if stop.is_set():
            folder.write_checkpoint(session.checkpoint())
            raise InterruptedTrainingError(
                f"training was stopped after {state.step} of {steps} steps; "
                f"--resume goes on from {folder.path}"
            )
    if (best := folder.read_best()) is not None:
        session.average.load_state_dict(best)
    network: Network = session.average.network
    return network.eval().cpu()


def _end_epoch(
    session: _Session,
    source: BatchSource,
    folder: RunFolder,
    validate: Validate | None,
) -> EpochReport:
    state, settings = session.state, session.settings
    known = ("steps", "loss", "right", "asked")
    report = EpochReport(
        epoch=state.step // source.steps_per_epoch,
        epochs=settings.optimiser.epochs,
        loss=state.mean("loss"),
        accuracy=state.mean("right", "asked"),
        learning_rate=float(session.schedule.get_last_lr()[0]),
        parts={name: state.mean(name) for name in state.sums if name not in known},
    )
    state.sums.clear()
    if validate is not None:
        figures = validate(session.average.network.eval())
        report = replace(report, validation=figures)
        if figures["accuracy"] > state.best:
            state.best, state.best_epoch = figures["accuracy"], report.epoch
            folder.write_best(session.average.state_dict())
    folder.log(asdict(report))
    folder.write_checkpoint(session.checkpoint())
    return report


def _stalled(state: _State, epoch: int, settings: TrainingSettings) -> bool:
    """Whether validation has not improved for too many epochs."""
    patience = settings.patience
    return bool(patience and state.best_epoch and epoch - state.best_epoch >= patience)


def _optimiser(student: Student, settings: TrainingSettings) -> torch.optim.AdamW:
    chosen, network = settings.optimiser, student.network
    heads = {
        id(parameter)
        for head in (network.head, network.column_head)
        for parameter in (head.parameters() if head is not None else ())
    }
    rates = (chosen.learning_rate, chosen.learning_rate * chosen.head_rate_factor)
    groups = [
        {
            "params": [
                parameter
                for parameter in student.parameters()
                if parameter.requires_grad and (id(parameter) in heads) == bool(is_head)
            ],
            "lr": rate,
        }
        for is_head, rate in enumerate(rates)
    ]
    return torch.optim.AdamW(groups, weight_decay=chosen.weight_decay)
