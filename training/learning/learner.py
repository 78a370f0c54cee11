"""How one network of a run is learned: its lesson, its batches, its watchers."""

import threading
from collections.abc import Sequence
from contextlib import ExitStack

import torch

from monitor.model.network import Network, build_network
from training.checkpoint import RunFolder
from training.clips.splits import Split
from training.config import TrainingSettings
from training.job import Job
from training.learning.board import Board
from training.learning.lesson import Lesson, learn_statistics
from training.learning.loop import fit
from training.learning.progress import Display
from training.learning.student import Student
from training.learning.watcher import EpochPicture, EpochReport, Validate, Watcher
from training.mixing.dataset import BatchSource, MixtureSource, SharedSource
from training.mixing.material import Material
from training.profile import timed
from training.ranks import Ranks
from training.teacher.bank_builder import build_bank
from training.teacher.distill import Teacher


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
