"""One run of `train`: material, one network or one for each fold, and a model file.

The card of a trained model: what it is, how it was made, how it was tested.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from monitor.model.model_file import ModelCard, Thresholds, TrainedModel, save_model
from monitor.model.networks.build import Network, build_network
from training.checkpoint import InterruptedTrainingError, RunFolder
from training.config import TrainingSettings
from training.data.manifest import Clip
from training.data.splits import Split, split
from training.distill.linear_probe import teacher_figures
from training.distributed import ALONE, Ranks
from training.evaluate.clips import cost_figures
from training.evaluate.examine import Examiner
from training.evaluate.out_of_fold import (
    Calibration,
    Evidence,
    HeldOut,
    calibrate_parts,
    join_evidence,
    negatives_report,
)
from training.losses import prepare
from training.mixtures.dataset import MixtureSource
from training.mixtures.material import gather
from training.network_training import FINAL, Job, Learner
from training.profile import timed
from training.progress import Display
from training.report.report import SHOWN_WINDOWS, Tested, tested_of, write_report
from training.streams.evaluate import (
    StreamResult,
    ambience_figures,
    trial_figures,
    try_on_streams,
)

logger = logging.getLogger(__name__)


def make_card(
    name: str,
    network: Network,
    labels: Sequence[str],
    licence: str,
    calibration: Calibration | None,
    figures: dict[str, Any],
    settings: TrainingSettings,
) -> ModelCard:
    """Put together what a model file says.

    Args:
        name: Of the model, in records.
        network: For what it costs.
        labels: In the order of the scores.
        licence: Of the recordings and of the teacher.
        calibration: Temperatures and thresholds; None: it was not tested.
        figures: Of the test.
        settings: Of the training.
    """
    thresholds: dict[str, Thresholds] = {}
    temperatures: dict[str, float] = {}
    if calibration is not None:
        temperatures = {
            label: float(value)
            for label, value in zip(labels, calibration.temperatures, strict=True)
        }
        for label, found in zip(labels, calibration.thresholds, strict=False):
            thresholds[label] = Thresholds(
                onset=found.onset,
                offset=found.offset,
                false_alarms_per_hour=found.false_alarms_per_hour,
            )
    cost = cost_figures(network, settings.spec)
    return ModelCard(
        name=name,
        preset=settings.preset,
        labels=tuple(labels),
        thresholds=thresholds,
        temperatures=temperatures,
        report={**figures, **cost, "split": settings.split},
        licence=licence,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        training=settings.model_dump(mode="json", exclude={"spec"}),
    )


class Run:
    """A job with its material, which several networks may share.

    Args:
        job: What was asked.
        settings: Of the run.
        display: Shows how it goes.
        stop: Ends the work.
        ranks: The processes that train together; all make the same calls.
    """

    def __init__(
        self,
        job: Job,
        settings: TrainingSettings,
        display: Display,
        stop: threading.Event,
        ranks: Ranks = ALONE,
    ) -> None:
        self.job = job
        self.settings = settings
        self.display = display
        self.stop = stop
        self.ranks = ranks
        build_network(settings.preset, settings.spec, 1)  # fail before the work
        self.folder = RunFolder(job.run, ranks.is_first)
        with ranks.one_after_other():
            self.material = gather(job.places, settings, self._advance)
        self.folder.begin(settings, job.resume)
        self.examiner = Examiner(self.material, settings, job.device, self._advance)
        self.learner = Learner(job, settings, self.material, display, stop, ranks)

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
            Its card; None if only one network of a cross-validation was asked for, or
            if another process tests and writes.
        """
        if self.job.cross_validate:
            return self._cross_validate()
        return self._single()

    def _single(self) -> ModelCard | None:
        settings, labels = self.settings, self.labels
        parts = split(
            self.material.manifest, settings.test_folds, settings.validation_folds
        )
        network = self._learn(parts, (), self.folder, "training")
        if not self.ranks.is_first:
            return None
        if not parts.test:
            figures: dict[str, Any] = {"tested": "not at all"}
            card = self._write(network, self.job.out, None, figures)
            self._report(card, None)
            return card
        with timed("evaluation"):
            heard = self.examiner.ask(network, parts.test, self.examiner.unheard)
        figures, judged = heard.conclude(labels, settings)
        folds = ", ".join(str(fold) for fold in settings.test_folds)
        figures["tested"] = f"on fold {folds}, never trained on"
        calibration = heard.calibrate(labels, settings)
        card = self._write(network, self.job.out, calibration, figures)
        self._report(card, tested_of(heard, judged))
        return card

    def _cross_validate(self) -> ModelCard | None:
        """Test folds in turn, each by a network of its own; then train on all."""
        settings, manifest, only = self.settings, self.material.manifest, self.job.only
        networks: dict[int, Network] = {}
        evidence: list[Evidence] = []
        folds = settings.test_folds or manifest.folds
        unheard = self.examiner.unheard_parts(len(folds))
        for number, fold in enumerate(folds):
            if only is not None and fold != only:
                continue
            parts = split(manifest, [fold], settings.validation_folds)
            held = self._held_negatives(fold)
            folder = self.folder.part(f"fold{fold}")
            networks[fold] = self._learn(parts, held, folder, f"fold {fold}")
            if only is None and self.ranks.is_first:
                own = unheard[number] or self.material.negatives_of(held)
                with timed("evaluation"):
                    heard = self.examiner.ask(networks[fold], parts.test, own, fold)
                    ambience = self.examiner.ambience_for(
                        networks[fold], own, fold, folds
                    )
                evidence.append(replace(heard, ambience=ambience))
        final = None
        if only in (None, FINAL):
            everything = split(manifest, (), settings.validation_folds)
            folder = self.folder.part("final")
            final = self._learn(everything, (), folder, "all folds")
        if only is not None or final is None or not self.ranks.is_first:
            return None
        return self._conclude(networks, final, join_evidence(evidence))

    def _conclude(
        self, networks: dict[int, Network], final: Network, heard: Evidence
    ) -> ModelCard:
        """Write the networks of the folds, and the final one with their figures."""
        settings = self.settings
        figures, judged = heard.conclude(self.labels, settings)
        unheard = self.examiner.unheard_parts(len(networks))
        streams: dict[int, list[StreamResult]] = {}
        for number, (fold, network) in enumerate(networks.items()):
            path = self.folder.path / f"fold{fold}" / "model.safetensors"
            facts = {"tested": f"see folds: {fold}", "folds": figures["folds"]}
            card = self._write(network, path, judged[fold], facts)
            clips = [c for c in self.material.manifest.clips if c.fold == fold]
            if unheard[number] and settings.stream_hours > 0:
                model = TrainedModel(network, settings.spec, card)
                hours = settings.stream_hours
                streams[fold] = self._try(model, clips, unheard[number], hours)
        figures["tested"] = (
            "by cross-validation: each fold by a network that never heard it"
        )
        if streams:
            figures["streams"] = trial_figures(streams, self.labels)
        if (lesson := self.learner.lesson) is not None:
            with timed("evaluation"):
                figures |= teacher_figures(
                    lesson.teacher,
                    self.material,
                    settings.spec,
                    networks,
                    self._advance,
                )
        with timed("evaluation"):
            asked = self.examiner.ask_negatives(final, settings.negatives_test_folds)
        calibration = heard.calibrate(self.labels, settings)
        if asked is not None:
            parts = calibrate_parts(heard, asked[1], self.labels, settings)
            figures |= self._measure_final(final, asked[0], parts)
            calibration = heard.calibrate(self.labels, settings, ambience=asked[1])
        card = self._write(final, self.job.out, calibration, figures)
        self._report(card, tested_of(heard, judged))
        return card

    def _measure_final(
        self, final: Network, negatives: HeldOut, parts: dict[int, Calibration]
    ) -> dict[str, Any]:
        """False alarms on negatives that nobody has heard, each part by the others'."""
        settings = self.settings
        figures = {"negatives_never_heard": negatives_report(negatives, parts)}
        hours = settings.test_ambience_hours / len(parts)
        if hours == 0:
            return figures
        results: list[StreamResult] = []
        for part, calibration in parts.items():
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
        with timed("evaluation"):
            return try_on_streams(
                model,
                self.material,
                clips,
                negatives,
                hours,
                lambda done, total: self._advance("listening to streams", done, total),
            )

    def _held_negatives(self, fold: int) -> tuple[int, ...]:
        """Negatives that stay out with a fold of clips, where none is kept apart."""
        negatives = self.material.negatives
        if negatives is None or self.examiner.unheard:
            return ()
        return (fold,) if fold in negatives.folds else ()

    def _learn(
        self, parts: Split, held: Sequence[int], folder: RunFolder, title: str
    ) -> Network:
        validate = None
        if parts.validation:
            validate = self.examiner.validation(parts.validation)
        return self.learner.learn(parts, held, folder, title, validate)

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
        with timed("report"):
            page = write_report(
                self.folder.path, card, self.settings.spec, folders, tested, store, task
            )
        logger.info("the report of the run is %s", page)

    def _licence(self) -> str:
        licence = self.settings.licence or self.material.manifest.licence
        if self.learner.lesson is None:
            return licence
        return f"{licence}\n{self.learner.lesson.notice}"
