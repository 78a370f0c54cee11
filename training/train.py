"""Training, from top to bottom: batch, loss, step, average, validate, save.

Where a training stands, beside its tensors: steps, this epoch, the best one.
"""

import copy
import threading
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from monitor.model.networks.build import Network
from training.checkpoint import Checkpoint, InterruptedTrainingError, RunFolder
from training.config import TrainingSettings
from training.distributed import ALONE, Ranks
from training.losses import TERMS, Student, Task, losses_of, prepare
from training.mixtures.dataset import Batch, BatchSource
from training.profile import count_worker, timed, waiting
from training.progress import EpochPicture, EpochReport, Validate, Watcher


@dataclass
class Standing:
    """Numbers from which training goes on; JSON can hold them."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Over the steps of this epoch."""
    best: float = -1.0
    best_epoch: int = 0
    confusion: list[list[int]] = field(default_factory=list)
    """Over the windows of this epoch that have one label."""

    def add(self, **values: float) -> None:
        """Add the figures of a step to those of the epoch."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self, name: str, of: str = "steps") -> float:
        """A sum over the epoch, divided by another."""
        return self.sums.get(name, 0.0) / max(self.sums.get(of, 0.0), 1.0)

    def confuse(self, counts: NDArray[np.int_]) -> None:
        """Add what was taken for what in a step."""
        before = np.array(self.confusion) if self.confusion else np.zeros_like(counts)
        self.confusion = (before + counts).tolist()


_SHORTEST_SCHEDULE = 8
_COUNTED = ("steps", "loss", "right", "asked")


class _Session:
    """The student, the average of its weights, and what moves them."""

    def __init__(
        self,
        student: Student,
        settings: TrainingSettings,
        steps: int,
        device: str,
        ranks: Ranks,
    ) -> None:
        self.settings = settings
        self.device = device
        self.ranks = ranks
        self.student = student.to(device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self.joint = ranks.join(self.student, student.has_more_heads)
        self.average.load_state_dict(self.student.state_dict())
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
        self.state = Standing()

    def step(self, batch: Batch) -> Task:
        """Learn from one batch, or from this process's share of it."""
        settings, ranks = self.settings, self.ranks
        # Every draw belongs to its step, so a resumed run draws what this one would.
        place = [settings.seed, 1, self.state.step]
        r = np.random.default_rng(place if ranks.is_first else [*place, ranks.number])
        torch.manual_seed(int(r.integers(2**31)))
        with timed("augmentation of features"):
            task = prepare(r, batch, settings)
        with timed("forward"):
            self.student.train()
            terms, best = losses_of(
                self.student, task, settings, self.device, self.joint
            )
            loss = torch.stack(list(terms.values())).sum()
        with timed("backward"):
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        with timed("optimiser"):
            self._move()
            said = {name: value.item() for name, value in terms.items()}
            self._count(task, best, {"loss": loss.item(), **said})
        return task

    def _move(self) -> None:
        nn.utils.clip_grad_norm_(
            self.student.parameters(), self.settings.optimiser.clip_norm
        )
        self.optimiser.step()
        self.schedule.step()
        self._follow()
        self.state.step += 1

    def _count(
        self, task: Task, best: NDArray[np.intp], losses: dict[str, float]
    ) -> None:
        """Add to the figures of the epoch what all processes found in this step."""
        rows = np.arange(len(best))
        right = task.present[rows, best].sum()
        labels = task.present.shape[1]
        single = task.present.sum(axis=1) == 1
        confusion = np.zeros((labels, labels))
        np.add.at(confusion, (task.present[single].argmax(axis=1), best[single]), 1)
        names = ("loss", *TERMS)
        found = self.ranks.sum(
            [
                *(losses.get(name, 0.0) for name in names),
                float(right),
                float(task.present.any(axis=1).sum()),
                *confusion.ravel().tolist(),
            ]
        )
        means = [value / self.ranks.count for value in found[: len(names)]]
        told = {n: v for n, v in zip(names, means, strict=True) if n in losses}
        right, asked, *counts = found[len(names) :]
        self.state.add(steps=1, right=right, asked=asked, **told)
        self.state.confuse(np.array(counts, int).reshape(labels, labels))

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
        self.state = Standing(**facts["state"])


def fit(
    student: Student,
    source: BatchSource,
    settings: TrainingSettings,
    folder: RunFolder,
    watcher: Watcher,
    stop: threading.Event,
    validate: Validate | None = None,
    device: str = "cpu",
    ranks: Ranks = ALONE,
) -> Network:
    """Train a student; return its network with the averaged weights of the best epoch.

    Without validation the last epoch counts as the best: the learning rate has gone
    down to next to nothing by then, and the test fold must not choose.

    Args:
        student: With fresh weights, or whatever training shall start from.
        source: The batches of each step, or this process's shares of them.
        settings: Of the run.
        folder: Gets checkpoints and metrics; training goes on from the checkpoint
            that is in it.
        watcher: Is told of every step and epoch.
        stop: Ends training after the step that is being made.
        validate: Tests a network on recordings kept apart for choosing.
        device: Name of the processor.
        ranks: The processes that train it together.

    Raises:
        InterruptedTrainingError: `stop` was set; the state is in `folder`.
    """
    per_epoch = source.steps_per_epoch
    steps = settings.optimiser.epochs * per_epoch
    session = _Session(student, settings, steps, device, ranks)
    if (checkpoint := ranks.tell(folder.read_checkpoint())) is not None:
        session.restore(checkpoint)
    state = session.state
    folder.forget_after(state.step // per_epoch)
    watcher.go_on(state.step // per_epoch)
    batches = source.batches(state.step, steps)
    for batch in waiting("waiting for windows", batches):
        count_worker(batch.seconds)
        task = session.step(batch)
        watcher.step(
            state.step, steps, state.mean("loss"), state.mean("right", "asked")
        )
        if state.step % per_epoch == 0:
            epoch = state.step // per_epoch
            _end_epoch(session, epoch, task, folder, watcher, validate)
            if _stalled(state, epoch, settings):
                break
        if ranks.any(stop.is_set()):
            folder.write_checkpoint(session.checkpoint())
            raise InterruptedTrainingError(
                f"training was stopped after {state.step} of {steps} steps; "
                f"--resume goes on from {folder.path}"
            )
    if (best := ranks.tell(folder.read_best())) is not None:
        session.average.load_state_dict(best)
    network: Network = session.average.network
    return network.eval().cpu()


def _end_epoch(
    session: _Session,
    epoch: int,
    task: Task,
    folder: RunFolder,
    watcher: Watcher,
    validate: Validate | None,
) -> None:
    state, ranks = session.state, session.ranks
    report = EpochReport(
        epoch=epoch,
        epochs=session.settings.optimiser.epochs,
        loss=state.mean("loss"),
        accuracy=state.mean("right", "asked"),
        learning_rate=float(session.schedule.get_last_lr()[0]),
        parts={name: state.mean(name) for name in state.sums if name not in _COUNTED},
    )
    picture = EpochPicture(state.confusion, False, task)
    state.sums.clear()
    state.confusion = []
    if validate is not None:
        with timed("evaluation"):
            own = validate(session.average.network.eval()) if ranks.is_first else None
            checked = ranks.tell(own)
        assert checked is not None
        report = replace(report, validation=checked.figures)
        picture = EpochPicture(checked.confusion, True, task)
        if checked.figures["accuracy"] > state.best:
            state.best, state.best_epoch = checked.figures["accuracy"], epoch
            folder.write_best(session.average.state_dict())
    with timed("writing"):
        folder.log(asdict(report))
        watcher.epoch(report, picture)
        folder.write_checkpoint(session.checkpoint())


def _stalled(state: Standing, epoch: int, settings: TrainingSettings) -> bool:
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
