"""How one network of a run is learned: its lesson, its batches, its watchers.

What `train` was asked to do, beside the settings of the training.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from monitor.errors import UsageError
from monitor.model.networks.build import Network, build_network
from training.checkpoint import RunFolder
from training.config import TrainingSettings
from training.data.splits import Split
from training.distill.target_cache import build_bank
from training.distill.teacher import Teacher
from training.distillation import Lesson, learn_statistics
from training.distributed import Ranks
from training.losses import Student
from training.mixtures.dataset import BatchSource, MixtureSource, SharedSource
from training.mixtures.material import Material, Places
from training.profile import timed
from training.progress import (
    Board,
    Display,
    EpochPicture,
    EpochReport,
    Validate,
    Watcher,
)
from training.train import fit

FINAL = 0
"""In place of a fold: the network that is trained on all of them."""


@dataclass(frozen=True, slots=True)
class Job:
    """What `train` was asked to do, beside the settings."""

    places: Places
    out: Path
    run: Path
    resume: bool = False
    cross_validate: bool = False
    teacher: Path | None = None
    """ONNX file; None: there is no teacher."""
    bank: Path | None = None
    """Folder of the bank; None: in the run folder."""
    workers: int = 1
    device: str = "cpu"
    only: int | None = None
    """Train only the network of this fold, or the one of all folds: `FINAL`."""


def check_job(job: Job) -> None:
    """Refuse what cannot be done, before anything is begun.

    Raises:
        UsageError: The model file would lie in a folder that does not exist, or
            options contradict each other.
    """
    if not job.out.parent.is_dir():
        raise UsageError(f"--out: the folder {job.out.parent} does not exist")
    if job.only is not None and not job.cross_validate:
        raise UsageError("--only names a network of --cross-validate; give that too")


class Learner:
    """Material, and the way from it to a network.

    Args:
        job: What was asked.
        settings: Of the run.
        material: Its recordings.
        display: Shows how it goes.
        stop: Ends the work.
        ranks: The processes that train together.
    """

    def __init__(
        self,
        job: Job,
        settings: TrainingSettings,
        material: Material,
        display: Display,
        stop: threading.Event,
        ranks: Ranks,
    ) -> None:
        self._job = job
        self._settings = settings
        self._material = material
        self._display = display
        self._stop = stop
        self._ranks = ranks
        self.lesson = self._lesson()
        """None without a teacher."""

    def _lesson(self) -> Lesson | None:
        settings, job = self._settings, self._job
        if job.teacher is None:
            return None
        teacher = Teacher(job.teacher, settings.teacher.sample_rate)
        everything = range(len(self._material.manifest.clips))
        with timed("making the bank"), self._ranks.one_after_other():
            bank = build_bank(
                job.bank or job.run / "bank",
                self._material.maker(
                    everything, settings.negatives_test_folds, settings
                ),
                teacher,
                settings.teacher.bank_items,
                settings.seed,
                job.workers,
                self._stop,
                lambda done, total: self._display.advance(
                    "making mixtures", done, total
                ),
            )
        return Lesson(bank, teacher, self._material.manifest.labels)

    def learn(
        self,
        parts: Split,
        held: Sequence[int],
        folder: RunFolder,
        title: str,
        validate: Validate | None,
    ) -> Network:
        """Train a network, or find it trained.

        Args:
            parts: What it may hear.
            held: Folds of negatives that it must not hear either.
            folder: Of the network.
            title: Of what is being done.
            validate: Chooses the best epoch.
        """
        settings, labels = self._settings, self._material.manifest.labels
        self._display.title = title
        network = build_network(settings.preset, settings.spec, len(labels))
        if (weights := self._ranks.tell(folder.read_result())) is not None:
            network.load_state_dict(weights)
            return network.eval()
        network = self._fit(parts, held, folder, validate)
        # The weights are stored in 16 bits: what is tested is what is stored.
        network = network.half().float()
        folder.write_result(network.state_dict())
        return network

    def _fit(
        self,
        parts: Split,
        held: Sequence[int],
        folder: RunFolder,
        validate: Validate | None,
    ) -> Network:
        settings, job, ranks = self._settings, self._job, self._ranks

        def fitted(student: Student, source: BatchSource) -> Network:
            with ExitStack() as stack:
                watchers: list[Watcher] = [self._display]
                if ranks.is_first:
                    board = Board(folder.path, self._material.manifest.labels)
                    watchers.append(stack.enter_context(board))
                return fit(
                    student,
                    source,
                    settings,
                    folder,
                    _Watchers(watchers),
                    self._stop,
                    validate,
                    job.device,
                    ranks,
                )

        labels = len(self._material.manifest.labels)
        torch.manual_seed(settings.seed)
        network = build_network(settings.preset, settings.spec, labels)
        without = (*settings.negatives_test_folds, *held)
        maker = self._material.maker(parts.train, without, settings)
        if self.lesson is None:
            size, seed = settings.optimiser.batch_size, settings.seed
            learn_statistics(network, MixtureSource(maker, size, seed, 0))
            source = MixtureSource(maker, size, seed, job.workers, ranks)
            return fitted(Student(network), source)
        clips = self._material.manifest.clips
        apart = {clips[index].fold for index in (*parts.test, *parts.validation)}
        student, bank = self.lesson.begin(
            network, maker, tuple(apart), without, settings
        )
        shared = bank if ranks.count == 1 else SharedSource(bank, ranks)
        ended = fitted(student, shared)
        self.lesson.end(ended, student, bank, settings)
        return ended


class _Watchers:
    """Several watchers as one."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def go_on(self, epoch: int) -> None:
        for watcher in self._watchers:
            watcher.go_on(epoch)

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        for watcher in self._watchers:
            watcher.step(step, steps, loss, accuracy)

    def epoch(self, report: EpochReport, picture: EpochPicture) -> None:
        for watcher in self._watchers:
            watcher.epoch(report, picture)
