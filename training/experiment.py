"""One experiment: material, one network or one for each fold, and a model file."""

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monitor.model.card import ModelCard
from monitor.model.classifier import Classifier
from monitor.model.networks import Network, build_network
from monitor.model.trained import TrainedModel, save_model, to_stored
from monitor.spec import ModelSpec
from training.checkpoint import InterruptedTrainingError, RunFolder
from training.config import TrainingSettings
from training.data.manifest import Clip, marks
from training.data.splits import Split, split
from training.distill.distillation import Distillation
from training.distill.target_cache import build_target_cache
from training.distill.teacher import Teacher, teacher_figures
from training.distributed import SINGLE_PROCESS, Distributed
from training.evaluate.clips import TRAINED_CLIPS, cost_figures
from training.evaluate.evaluator import Evaluator
from training.evaluate.out_of_fold import (
    TESTED_IN_TURN,
    Calibration,
    OutOfFold,
    OutOfFoldLogits,
    calibrate_parts,
    join_out_of_fold,
    negatives_report,
)
from training.job import Job
from training.losses import Student
from training.mixtures.dataset import (
    MixtureSource,
    ShardedSource,
    first_log_mels,
    learn_statistics,
)
from training.mixtures.material import gather
from training.preflight import (
    check_material,
    check_model_file,
    check_places,
    load_teacher,
)
from training.pretrained import find_pretrained
from training.profile import timed
from training.progress import Display
from training.streams.evaluate import (
    ambience_figures,
    evaluate_on_scenes,
    stream_figures_by_fold,
)
from training.streams.metrics import StreamResult
from training.train import train

logger = logging.getLogger(__name__)


class Experiment:
    """A job with its material, which several networks share."""

    def __init__(
        self,
        job: Job,
        settings: TrainingSettings,
        display: Display,
        stop: threading.Event,
        distributed: Distributed = SINGLE_PROCESS,
    ) -> None:
        self.job = job
        self.settings = settings
        self.display = display
        self.stop = stop
        self.distributed = distributed
        self._cure = "begin again"
        build_network(settings.preset, settings.spec, 1)  # fail before the work
        check_places(job.paths, settings, job.cross_validate)
        teacher = load_teacher(job.teacher, settings)
        self.pretrained = find_pretrained(settings)
        self.folder = RunFolder(job.run, distributed.is_main)
        self.folder.check(settings, job.resume)
        with distributed.main_process_first():
            self.material = gather(job.paths, settings, self.advance)
        self.labels = self.material.manifest.labels
        self.distillation: Distillation | None = None
        check_material(self.material, settings, job.cross_validate)
        facts = self.material.facts()
        if self.pretrained is not None:
            facts |= self.pretrained.prepare(self.material.manifest, job.cross_validate)
        if distributed.is_main:
            check_model_file(
                job.out, settings, self.labels, self.card, self.material.places
            )
        self.folder.begin(settings, facts)
        self._cure = "--resume continues"
        self.evaluator = Evaluator(self.material, settings, job.device, self.advance)
        if teacher is not None:
            self.distillation = self._begin_distillation(teacher)

    def advance(self, what: str, done: int, total: int) -> None:
        """Show the progress of a work; stop in the middle where that is asked for."""
        if self.stop.is_set():
            raise InterruptedTrainingError(f"stopped while {what}; {self._cure}")
        self.display.announce(what)
        self.display.advance(what, done, total)

    def run(self) -> ModelCard | None:
        """Train, test, calibrate, and write the model file.

        Returns:
            Its card; None if another process tests and writes.
        """
        return self._train_folds() if self.job.cross_validate else self._train_one()

    def _train_one(self) -> ModelCard | None:
        """Train one network, and test it on the test folds."""
        settings, labels, clips = self.settings, self.labels, self.material.manifest
        parts = split(clips, settings.test_folds, settings.validation_folds)
        network = self.network(parts, (), self.folder, "training")
        if not self.distributed.is_main:
            return None
        if not parts.test:
            card = self.card(network, None, {"tested": "not at all"})
            self.write(network, self.job.out, card)
            self.report(card)
            return card
        with timed("evaluation"):
            predicted = self.evaluator.predict(
                network, parts.test, self.evaluator.test_negatives
            )
        figures, calibrations = predicted.conclude(labels, settings)
        folds = ", ".join(map(str, settings.test_folds))
        figures["tested"] = f"on fold {folds}, never trained on"
        calibration = predicted.calibrate(labels, settings)
        card = self.card(network, calibration, figures, settings.test_folds)
        self.write(network, self.job.out, card)
        self.report(card, predicted, calibrations)
        return card

    def _train_folds(self) -> ModelCard | None:
        """Test folds in turn, each by a network of its own; then train on all."""
        settings, manifest = self.settings, self.material.manifest
        networks: dict[int, Network] = {}
        predicted: list[OutOfFold] = []
        folds = settings.test_folds or manifest.folds
        test_negatives = self.evaluator.negatives_parts(len(folds))
        for fold, negatives in zip(folds, test_negatives, strict=False):
            parts = split(manifest, [fold], settings.validation_folds)
            kept_out = self.negatives_with(fold)
            folder = self.folder.part(f"fold{fold}")
            network = self.network(parts, kept_out, folder, f"fold {fold}")
            networks[fold] = network
            if self.distributed.is_main:
                own = negatives or self.material.negatives_of(kept_out)
                with timed("evaluation"):
                    result = self.evaluator.predict(network, parts.test, own, fold)
                    ambience = self.evaluator.ambience_for(network, own, fold, folds)
                predicted.append(replace(result, ambience=ambience))
        everything = split(manifest, (), settings.validation_folds)
        final = self.network(everything, (), self.folder.part("final"), "all folds")
        if not self.distributed.is_main:
            return None
        return self._conclude(networks, final, join_out_of_fold(predicted))

    def network(
        self, parts: Split, kept_out: Sequence[int], folder: RunFolder, title: str
    ) -> Network:
        """Train a network, or find it trained."""
        settings, seed = self.settings, self.settings.seed
        self.display.title = title
        torch.manual_seed(seed)  # the first weights; torch's layers take no generator
        network = build_network(settings.preset, settings.spec, len(self.labels))
        weights = self.distributed.broadcast(folder.read_weights("network"))
        if weights is not None:
            network.load_state_dict(weights)
            return network.eval()
        without = (*settings.negatives_test_folds, *kept_out)
        maker = self.material.maker(parts.train, without, settings)
        if self.distillation is None:
            size, workers = settings.optimiser.batch_size, self.job.workers
            begin = MixtureSource(maker, size, seed, 0)
            if self.pretrained is None:
                learn_statistics(network, first_log_mels(begin))
            else:
                self.pretrained.begin(network)
            source = MixtureSource(maker, size, seed, workers, self.distributed)
            network = self._train(Student(network), source, parts, folder)
        else:
            clips = self.material.manifest.clips
            apart = {clips[index].fold for index in (*parts.test, *parts.validation)}
            student, cached = self.distillation.begin(
                network, maker, tuple(apart), without, settings
            )
            sharded = ShardedSource(cached, self.distributed)
            network = self._train(student, sharded, parts, folder)
            self.distillation.end(network, student, cached, settings)
        # The weights are stored in 16 bits: what is tested is what is stored.
        network = network.half().float()
        folder.write_weights("network", network.state_dict())
        return network

    def _train(
        self,
        student: Student,
        source: MixtureSource | ShardedSource,
        parts: Split,
        folder: RunFolder,
    ) -> Network:
        validation = parts.validation
        validate = self.evaluator.validation(validation) if validation else None
        return train(
            student,
            source,
            self.labels,
            self.settings,
            folder,
            self.display,
            self.stop,
            validate,
            self.job.device,
            self.distributed,
            self.job.tensorboard,
        )

    def _begin_distillation(self, teacher: Teacher) -> Distillation:
        """Build or find the target cache: mixtures with outputs of the teacher."""
        settings, job = self.settings, self.job
        everything = range(len(self.material.manifest.clips))
        maker = self.material.maker(everything, settings.negatives_test_folds, settings)
        with timed("target cache"), self.distributed.main_process_first():
            cache = build_target_cache(
                job.target_cache or job.run / "targets",
                maker,
                teacher,
                settings.teacher.bank_items,
                settings.seed,
                job.workers,
                self.stop,
                self.display.advance,
            )
        return Distillation(cache, teacher, self.labels)

    def _conclude(
        self, networks: dict[int, Network], final: Network, predicted: OutOfFold
    ) -> ModelCard:
        """Write the networks of the folds, and the final one with their figures."""
        settings, labels = self.settings, self.labels
        figures, calibrations = predicted.conclude(labels, settings)
        test_negatives = self.evaluator.negatives_parts(len(networks))
        streams: dict[int, list[StreamResult]] = {}
        tests = zip(networks.items(), test_negatives, strict=False)
        for (fold, network), negatives in tests:
            path = self.folder.path / f"fold{fold}" / "model.safetensors"
            facts = {"tested": f"see folds: {fold}", "folds": figures["folds"]}
            card = self.card(network, calibrations[fold], facts, (fold,))
            self.write(network, path, card)
            clips = [c for c in self.material.manifest.clips if c.fold == fold]
            if negatives and settings.stream_hours > 0:
                model = TrainedModel(network, settings.spec, card)
                hours = settings.stream_hours
                streams[fold] = self._scenes(model, clips, negatives, hours)
        figures["tested"] = TESTED_IN_TURN
        if streams:
            figures["streams"] = stream_figures_by_fold(streams, labels)
        with timed("evaluation"):
            figures |= self.teacher_figures(networks)
            silent = self.evaluator.predict_negatives(
                final, settings.negatives_test_folds
            )
        calibration = predicted.calibrate(labels, settings)
        if silent is not None:
            negatives_logits, ambience = silent
            parts = calibrate_parts(predicted, ambience, labels, settings)
            figures |= self._false_alarms(final, negatives_logits, parts)
            calibration = predicted.calibrate(labels, settings, ambience=ambience)
        card = self.card(final, calibration, figures)
        self.write(final, self.job.out, card)
        self.report(card, predicted, calibrations)
        return card

    def _false_alarms(
        self, final: Network, negatives: OutOfFoldLogits, parts: dict[int, Calibration]
    ) -> dict[str, Any]:
        """False alarms of the final network on negatives that it was not trained on.

        Each part of them is judged by thresholds from the other parts.
        """
        settings = self.settings
        figures = {"negatives_never_heard": negatives_report(negatives, parts)}
        hours = settings.test_ambience_hours / len(parts)
        if hours == 0:
            return figures
        results: list[StreamResult] = []
        for part, calibration in parts.items():
            card = self.card(final, calibration, {})
            model = TrainedModel(final, settings.spec, card)
            results += self._scenes(model, (), negatives.clips_of(part), hours)
        figures["ambience_never_heard"] = ambience_figures(results, self.labels)
        return figures

    def teacher_figures(self, folds: Iterable[int]) -> dict[str, Any]:
        """Figures of the teacher on the same folds; none without a teacher."""
        if self.distillation is None:
            return {}
        teacher, spec = self.distillation.teacher, self.settings.spec
        return teacher_figures(teacher, self.material, spec, folds, self.advance)

    def _scenes(
        self,
        model: TrainedModel,
        clips: Sequence[Clip],
        negatives: Sequence[Clip],
        hours: float,
    ) -> list[StreamResult]:
        """Events of the monitor in streams of clips, or of none, over negatives."""
        with timed("evaluation"):
            return evaluate_on_scenes(
                Classifier(to_stored(model), "cpu"),
                self.material,
                clips,
                negatives,
                hours,
                self.advance,
            )

    def negatives_with(self, fold: int) -> tuple[int, ...]:
        """Folds of negatives kept out with a fold of clips, where none is for tests."""
        negatives = self.material.negatives
        if negatives is None or self.evaluator.test_negatives:
            return ()
        return (fold,) if fold in negatives.folds else ()

    def write(
        self,
        network: Network,
        path: Path,
        card: ModelCard,
        spec: ModelSpec | None = None,
    ) -> None:
        """Write a model file; None: the spec is that of the settings."""
        path.parent.mkdir(parents=True, exist_ok=True)
        model = TrainedModel(network, spec or self.settings.spec, card)
        save_model(path, model, half=True)

    def card(
        self,
        network: Network,
        calibration: Calibration | None,
        figures: dict[str, Any],
        tested: Sequence[int] = (),
    ) -> ModelCard:
        """Describe a network that the folds `tested` are the test of."""
        settings, manifest = self.settings, self.material.manifest
        apart = (*tested, *settings.validation_folds)
        trained = marks(clip for clip in manifest.clips if clip.fold not in apart)
        origins = [each for each in (self.distillation, self.pretrained) if each]
        terms = [settings.licence or manifest.licence, *(it.notice for it in origins)]
        if self.pretrained is not None:
            trained = self.pretrained.trained_clips(trained)
        cost = cost_figures(network, settings.spec)
        found = calibration or Calibration(np.zeros(0, np.float32), ())
        temperatures = found.temperatures.tolist()
        return ModelCard(
            name=self.job.out.stem,
            preset=settings.preset,
            labels=self.labels,
            thresholds=dict(zip(self.labels, found.card_thresholds(), strict=False)),
            temperatures=dict(zip(self.labels, temperatures, strict=False)),
            report={**figures, **cost, "split": settings.split},
            licence="\n".join(terms),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            training={
                **settings.model_dump(mode="json", exclude={"spec"}),
                TRAINED_CLIPS: trained,
            },
        )

    def report(
        self,
        card: ModelCard,
        predicted: OutOfFold | None = None,
        calibrations: dict[int, Calibration] | None = None,
    ) -> None:
        """Write the page of the run."""
        with timed("report"):
            # It imports matplotlib, which takes half a second.
            from training.report.report import tested_clips, write_report

            known = calibrations or {}
            tested = None if predicted is None else tested_clips(predicted, known)
            page = write_report(self.folder, card, self.material, self.settings, tested)
        logger.info("the report of the run is %s", page)
