"""One run of `train`: material, one network or one for each fold, and a model file."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monitor.model.model_file import ModelCard, TrainedModel, save_model
from monitor.model.network import Network, build_network
from training.bank_builder import build_bank
from training.card import make_card
from training.checkpoint import RunFolder
from training.config import TrainingSettings
from training.dataset import BatchSource, MixtureSource
from training.distill import Teacher
from training.examine import Examiner
from training.heldout import (
    Calibration,
    Evidence,
    HeldOut,
    calibrate_halves,
    join_evidence,
    negatives_report,
)
from training.job import FINAL, Job
from training.lesson import Lesson, learn_statistics
from training.loop import InterruptedTrainingError, fit
from training.losses import prepare
from training.manifest import Clip
from training.material import gather
from training.progress import Display
from training.report import SHOWN_WINDOWS, Tested, tested_of, write_report
from training.splits import Split, split
from training.streams import StreamResult
from training.student import Student
from training.trial import ambience_figures, trial_figures, try_on_streams

logger = logging.getLogger(__name__)


class Run:
    """A job with its material, which several networks may share."""

    def __init__(
        self,
        job: Job,
        settings: TrainingSettings,
        display: Display,
        stop: threading.Event,
    ) -> None:
        self.job = job
        self.settings = settings
        self.display = display
        self.stop = stop
        build_network(settings.preset, settings.spec, 1)  # fail before the work
        self.folder = RunFolder(job.run)
        self.material = gather(job.places, settings, self._advance)
        self.folder.begin(settings, job.resume)
        self.examiner = Examiner(self.material, settings, job.device, self._advance)
        self.lesson = self._lesson()

    def _lesson(self) -> Lesson | None:
        """The bank, where there is a teacher."""
        settings, job = self.settings, self.job
        if job.teacher is None:
            return None
        teacher = Teacher(job.teacher, settings.teacher.sample_rate)
        everything = range(len(self.material.manifest.clips))
        bank = build_bank(
            job.bank or job.run / "bank",
            self.material.maker(everything, settings.negatives_test_folds, settings),
            teacher,
            settings.teacher.bank_items,
            settings.seed,
            job.workers,
            self.stop,
            lambda done, total: self.display.advance("making mixtures", done, total),
        )
        return Lesson(bank, teacher)

    def _advance(self, what: str, done: int, total: int) -> None:
        if self.stop.is_set():
            raise InterruptedTrainingError(f"stopped while {what}; begin again")
        self.display.advance(what, done, total)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.material.manifest.labels

    def train(self) -> ModelCard | None:
        """Train, test, calibrate, and write the model file.

        Returns:
            Its card; None if only one network of a cross-validation was asked for.
        """
        if self.job.cross_validate:
            return self._cross_validate()
        return self._single()

    def _single(self) -> ModelCard:
        settings, labels = self.settings, self.labels
        parts = split(
            self.material.manifest, settings.test_folds, settings.validation_folds
        )
        network = self._learn(parts, (), self.folder, "training")
        if not parts.test:
            figures: dict[str, Any] = {"tested": "not at all"}
            card = self._write(network, self.job.out, None, figures)
            self._report(card, None)
            return card
        heard = self.examiner.ask(network, parts.test, settings.negatives_test_folds)
        figures, judged = heard.conclude(labels, settings)
        figures["tested"] = f"on folds {list(settings.test_folds)}, never trained on"
        calibration = heard.calibrate(labels, settings)
        card = self._write(network, self.job.out, calibration, figures)
        self._report(card, tested_of(heard, judged))
        return card

    def _cross_validate(self) -> ModelCard | None:
        """Test folds in turn, each by a network of its own; then train on all."""
        settings, manifest, only = self.settings, self.material.manifest, self.job.only
        networks: dict[int, Network] = {}
        evidence: list[Evidence] = []
        for fold in settings.test_folds or manifest.folds:
            if only is not None and fold != only:
                continue
            parts = split(manifest, [fold], settings.validation_folds)
            # The negatives of the same number stay out as well, to calibrate with.
            held = (fold,) if fold in self._trained_negatives() else ()
            folder = RunFolder(self.folder.path / f"fold{fold}")
            networks[fold] = self._learn(parts, held, folder, f"fold {fold}")
            if only is None:
                heard = self.examiner.ask(networks[fold], parts.test, held, fold)
                evidence.append(heard)
        final = None
        if only in (None, FINAL):
            everything = split(manifest, (), settings.validation_folds)
            folder = RunFolder(self.folder.path / "final")
            final = self._learn(everything, (), folder, "all folds")
        if only is not None or final is None:
            return None
        return self._conclude(networks, final, join_evidence(evidence))

    def _conclude(
        self, networks: dict[int, Network], final: Network, heard: Evidence
    ) -> ModelCard:
        """Write the networks of the folds, and the final one with their figures."""
        settings = self.settings
        figures, judged = heard.conclude(self.labels, settings)
        unheard = self.material.negatives_of(settings.negatives_test_folds)
        streams: dict[int, list[StreamResult]] = {}
        for fold, network in networks.items():
            path = self.folder.path / f"fold{fold}" / "model.safetensors"
            facts = {"tested": f"see folds: {fold}", "folds": figures["folds"]}
            card = self._write(network, path, judged[fold], facts)
            clips = [c for c in self.material.manifest.clips if c.fold == fold]
            if unheard and settings.stream_hours > 0:
                model = TrainedModel(network, settings.spec, card)
                hours = settings.stream_hours
                streams[fold] = self._try(model, clips, unheard, hours)
        figures["tested"] = (
            "by cross-validation: each fold by a network that never heard it"
        )
        if streams:
            figures["streams"] = trial_figures(streams, self.labels)
        asked = self.examiner.ask_negatives(final, settings.negatives_test_folds)
        calibration = heard.calibrate(self.labels, settings)
        if asked is not None:
            halves = calibrate_halves(heard, asked[1], self.labels, settings)
            figures |= self._measure_final(final, asked[0], halves)
            calibration = heard.calibrate(self.labels, settings, ambience=asked[1])
        card = self._write(final, self.job.out, calibration, figures)
        self._report(card, tested_of(heard, judged))
        return card

    def _measure_final(
        self, final: Network, negatives: HeldOut, halves: dict[int, Calibration]
    ) -> dict[str, Any]:
        """False alarms on negatives that nobody has heard, each half by the other's."""
        settings = self.settings
        figures = {"negatives_never_heard": negatives_report(negatives, halves)}
        hours = settings.test_ambience_hours / len(halves)
        if hours == 0:
            return figures
        results: list[StreamResult] = []
        for part, calibration in halves.items():
            own = np.flatnonzero(negatives.part == part)
            clips = [negatives.windows.clips[int(index)] for index in own]
            card = self._card(final, calibration, {})
            model = TrainedModel(final, settings.spec, card)
            results += self._try(model, (), clips, hours)
        figures["ambience_never_heard"] = ambience_figures(results, self.labels)
        return figures

    def _try(
        self,
        model: TrainedModel,
        clips: Sequence[Clip],
        negatives: Sequence[Clip],
        hours: float,
    ) -> list[StreamResult]:
        """What the monitor hears in streams of clips, or of none, over negatives."""
        return try_on_streams(
            model,
            self.material,
            clips,
            negatives,
            hours,
            lambda done, total: self._advance("listening to streams", done, total),
        )

    def _trained_negatives(self) -> set[int]:
        """Folds of the negatives that the final network hears."""
        negatives = self.material.negatives
        folds = set(negatives.folds) if negatives is not None else set()
        return folds - set(self.settings.negatives_test_folds)

    def _learn(
        self, parts: Split, held: Sequence[int], folder: RunFolder, title: str
    ) -> Network:
        settings = self.settings
        self.display.title = title
        network = build_network(settings.preset, settings.spec, len(self.labels))
        if (weights := folder.read_result()) is not None:
            network.load_state_dict(weights)
            return network.eval()
        network = self._fit(parts, held, folder)
        # The weights are stored in 16 bits: what is tested is what is stored.
        network = network.half().float()
        folder.write_result(network.state_dict())
        return network

    def _fit(self, parts: Split, held: Sequence[int], folder: RunFolder) -> Network:
        settings, device = self.settings, self.job.device
        validate = None
        if parts.validation:
            validate = self.examiner.accuracy(parts.validation)

        def fitted(student: Student, source: BatchSource) -> Network:
            watcher, stop = self.display, self.stop
            return fit(
                student, source, settings, folder, watcher, stop, validate, device
            )

        torch.manual_seed(settings.seed)
        network = build_network(settings.preset, settings.spec, len(self.labels))
        without = (*settings.negatives_test_folds, *held)
        maker = self.material.maker(parts.train, without, settings)
        if self.lesson is None:
            size, seed = settings.optimiser.batch_size, settings.seed
            learn_statistics(network, MixtureSource(maker, size, seed, 0))
            source = MixtureSource(maker, size, seed, self.job.workers)
            return fitted(Student(network), source)
        clips = self.material.manifest.clips
        apart = {clips[index].fold for index in (*parts.test, *parts.validation)}
        student, bank = self.lesson.begin(
            network, maker, tuple(apart), without, settings
        )
        ended = fitted(student, bank)
        self.lesson.end(ended, student, bank, settings)
        return ended

    def _write(
        self,
        network: Network,
        path: Path,
        calibration: Calibration | None,
        figures: dict[str, Any],
    ) -> ModelCard:
        card = self._card(network, calibration, figures)
        path.parent.mkdir(parents=True, exist_ok=True)
        model = TrainedModel(network, self.settings.spec, card)
        save_model(path, model, half=True)
        return card

    def _card(
        self,
        network: Network,
        calibration: Calibration | None,
        figures: dict[str, Any],
    ) -> ModelCard:
        name, licence = self.job.out.stem, self._licence()
        return make_card(
            name, network, self.labels, licence, calibration, figures, self.settings
        )

    def _report(self, card: ModelCard, tested: Tested | None) -> None:
        """Write the page of the run."""
        folders = {
            path.parent.name: RunFolder(path.parent).metrics()
            for path in sorted(self.folder.path.rglob("metrics.jsonl"))
        }
        clips = range(len(self.material.manifest.clips))
        maker = self.material.maker(clips, (), self.settings)
        shown = next(MixtureSource(maker, SHOWN_WINDOWS, 0, 0).batches(0, 1))
        task = prepare(np.random.default_rng(0), shown, self.settings)
        store = self.material.store
        page = write_report(
            self.folder.path, card, self.settings.spec, folders, tested, store, task
        )
        logger.info("the report of the run is %s", page)

    def _licence(self) -> str:
        licence = self.settings.licence or self.material.manifest.licence
        if self.lesson is None:
            return licence
        return f"{licence}\n{self.lesson.notice}"
