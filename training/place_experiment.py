"""An experiment with places: trunks, heads, a test in places, and a model file.

The trunks are those of an experiment without.  What sets a threshold is neither the
network's own training nor the place in which it is reported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.model.card import ModelCard
from monitor.model.classifier import Classifier
from monitor.model.thresholds import Thresholds
from monitor.model.trained import TrainedModel, to_stored
from training.data.manifest import Clip
from training.data.places import PLACE_PARTS
from training.evaluate.ambience import hop_seconds
from training.evaluate.in_places import (
    PlaceScores,
    masked_seconds,
    most_masked,
    place_masks,
    score_events,
    score_places,
    thresholds_in_places,
    top_scores,
)
from training.evaluate.out_of_fold import (
    TESTED_IN_TURN,
    Calibration,
    OutOfFold,
    join_out_of_fold,
    negatives_report,
)
from training.evaluate.place_figures import curves, moved, place_figures
from training.evaluate.thresholds import Threshold, fit_shift
from training.experiment import Experiment
from training.heads.stage import Heads, HeadStage
from training.profile import timed
from training.streams.evaluate import detection_for, stream_figures_by_fold
from training.streams.metrics import StreamResult, stream_figures
from training.streams.scenes import SceneClips
from training.streams.scored import ScoredStream, detect
from training.trunks import Trunk, train_trunks


def train_in_places(experiment: Experiment) -> ModelCard | None:
    """Train trunks and heads, test and calibrate them in places, and write the model.

    Returns:
        Its card; None if another process tests and writes.
    """
    tested, final = train_trunks(experiment)
    if not experiment.distributed.is_main:
        return None
    return _PlaceTest(experiment, tested, final).conclude()


@dataclass(slots=True)
class _Scored:
    """The scores of one trunk in all parts of the places, by heads not fitted on it."""

    temperatures: Calibration
    parts: list[PlaceScores] = field(default_factory=list)

    def alone(self, without: int | None = None) -> list[ScoredStream]:
        return [s for part in self.parts if part.part != without for s in part.alone]

    def events(self, without: int | None = None) -> list[ScoredStream]:
        return [s for part in self.parts if part.part != without for s in part.events]


@dataclass(frozen=True, slots=True)
class _Case:
    """A part of the places for one network, and thresholds from elsewhere."""

    folds: tuple[int, ...]
    """That the network was not trained on."""
    scores: PlaceScores
    thresholds: dict[str, Threshold]


class _PlaceTest:
    """Heads, their test in places, and the thresholds from it."""

    def __init__(
        self, experiment: Experiment, tested: Sequence[Trunk], final: Trunk
    ) -> None:
        self._experiment, self._tested, self._final = experiment, tested, final
        self._settings, self._material = experiment.settings, experiment.material
        self._labels = experiment.labels
        assert self._material.places is not None
        self._places = self._material.places
        distillation = experiment.distillation
        self._stage = HeadStage(
            self._material,
            self._settings,
            None if distillation is None else distillation.teacher,
            experiment.job.workers,
            experiment.stop,
            experiment.advance,
        )

    @cached_property
    def _masks(self) -> dict[str, NDArray[np.bool_]]:
        """Windows of the places in which a label may sound, if there is a teacher."""
        mask = self._stage.mask
        if mask is None:
            return {}
        experiment, spec = self._experiment, self._stage.spec
        detection = detection_for(self._final.network.total_stride)
        hop = detection.hop_frames
        seed = self._settings.seed
        return place_masks(mask, self._places, spec, hop, seed, experiment.advance)

    @cached_property
    def _masked_seconds(self) -> dict[str, dict[str, float]]:
        detection = detection_for(self._final.network.total_stride)
        hop = hop_seconds(self._stage.spec, detection)
        return masked_seconds(self._masks, self._labels, hop)

    def conclude(self) -> ModelCard:
        """Fit, test, calibrate, and write the model files."""
        experiment, settings, labels = self._experiment, self._settings, self._labels
        heads = [self._fit(trunk) for trunk in self._tested]
        final = heads[0] if self._final in self._tested else self._fit(self._final)
        predicted = self._predict(heads)
        shifts = [self._shift(predicted, trunk) for trunk in self._tested]
        heads = [own.shifted(it) for own, it in zip(heads, shifts, strict=True)]
        shift = self._shift(predicted)
        final = heads[0] if self._final in self._tested else final.shifted(shift)
        predicted = self._predict(heads)
        figures, calibrations = predicted.conclude(labels, settings)
        figures["tested"] = (
            TESTED_IN_TURN
            if experiment.job.cross_validate
            else f"on fold {', '.join(map(str, settings.test_folds))}, never trained on"
        )
        if len(self._tested) == 1:
            figures["tested"] += "; its own clips set temperatures and thresholds"
        temperatures = predicted.calibrate(labels, settings)
        with timed("evaluation"):
            scored = [
                self._score(trunk, own, self._temperatures(trunk, calibrations))
                for trunk, own in zip(self._tested, heads, strict=True)
            ]
            last = (
                scored[0]
                if self._final in self._tested
                else self._score(replace(self._final, folds=()), final, temperatures)
            )
            thresholds = self._thresholds(last.alone(), _events_of(scored))
            cases = self._cases(scored)
            figures |= self._figures(cases, scored)
            figures |= experiment.teacher_figures(
                [fold for trunk in self._tested for fold in trunk.folds]
            )
        calibration = replace(temperatures, thresholds=tuple(thresholds.values()))
        silent = experiment.evaluator.negatives_logits(
            final.all_places, settings.negatives_test_folds
        )
        if silent is not None:
            parts = dict.fromkeys(map(int, np.unique(silent.part)), calibration)
            figures["negatives_never_heard"] = negatives_report(silent, parts)
        with timed("evaluation"):
            shipped = self._with_curves(thresholds, last, cases)
        for trunk, own in zip(self._tested, heads, strict=True):
            if trunk is not self._final:
                self._write_fold(trunk, own, figures, calibrations, shipped)
        tested = self._final.folds
        card = experiment.card(final.all_places, calibration, figures, tested)
        card = card.model_copy(update={"thresholds": shipped})
        experiment.write(final.all_places, experiment.job.out, card, self._stage.spec)
        experiment.report(card, predicted, calibrations)
        return card

    def _fit(self, trunk: Trunk) -> Heads:
        self._experiment.display.title = f"heads of {trunk.folder.path.name}"
        without = (*self._settings.negatives_test_folds, *trunk.kept_out)
        clips = [self._material.manifest.clips[index] for index in trunk.parts.train]
        return self._stage.fit(
            trunk.network,
            clips,
            self._material.negatives_without(without),
            trunk.folder,
        )

    def _predict(self, heads: Sequence[Heads]) -> OutOfFold:
        """Score the test clips of each trunk by the head that knows all places."""
        evaluator = self._experiment.evaluator
        with timed("evaluation"):
            return join_out_of_fold(
                [
                    evaluator.predict(
                        own.all_places,
                        trunk.parts.test,
                        (),
                        self._part_of(trunk),
                    )
                    for trunk, own in zip(self._tested, heads, strict=True)
                ]
            )

    def _part_of(self, trunk: Trunk) -> int | None:
        """The fold that a trunk was not trained on; None: it is the only trunk."""
        return None if self._final in self._tested else trunk.folds[0]

    def _shift(self, predicted: OutOfFold, trunk: Trunk | None = None) -> float:
        """Fit the shift of a network; on other folds than its test if there are."""
        clips = predicted.clips
        rows = np.ones(len(clips.logits), bool)
        if trunk is not None and len(self._tested) > 1:
            rows = clips.window_part != trunk.folds[0]
        return fit_shift(clips.logits[rows], clips.present()[rows])

    def _temperatures(
        self, trunk: Trunk, calibrations: dict[int, Calibration]
    ) -> Calibration:
        """Temperatures that the clips of the test did not fit, where there are more."""
        return calibrations[self._part_of(trunk) or 0]

    def _score(self, trunk: Trunk, heads: Heads, temperatures: Calibration) -> _Scored:
        """Score all places by the heads that were not fitted on them."""
        experiment, settings = self._experiment, self._settings
        places, clips = self._places, self._clips_of(trunk)
        experiment.display.title = f"places, {trunk.folder.path.name}"
        scored = _Scored(temperatures)
        for part in range(PLACE_PARTS):
            network = heads.without[part]
            card = experiment.card(network, temperatures, {})
            model = TrainedModel(network, self._stage.spec, card)
            classifier = Classifier(to_stored(model), "cpu")
            seed, advance = settings.seed, experiment.advance
            found = score_places(classifier, places, part, self._masks, seed, advance)
            if clips:
                events = SceneClips(clips, self._material.store)
                passes = settings.heads.passes
                streams = score_events(
                    classifier, places, part, events, passes, seed, advance
                )
                found = replace(found, events=streams)
            scored.parts.append(found)
        return scored

    def _clips_of(self, trunk: Trunk) -> tuple[Clip, ...]:
        clips = self._material.manifest.clips
        return tuple(clip for clip in clips if clip.fold in trunk.folds)

    def _thresholds(
        self, alone: Sequence[ScoredStream], events: Sequence[ScoredStream]
    ) -> dict[str, Threshold]:
        settings = self._settings
        found = thresholds_in_places(
            alone,
            events,
            self._labels,
            self._stage.spec,
            settings.heads,
        )
        return dict(zip(self._labels, found, strict=True))

    def _detect(
        self, streams: Sequence[ScoredStream], thresholds: dict[str, Thresholds]
    ) -> list[StreamResult]:
        spec, stride = self._stage.spec, self._final.network.total_stride
        detection = detection_for(stride)
        return [
            detect(stream, self._labels, spec, detection, thresholds)
            for stream in streams
        ]

    def _cases(self, scored: Sequence[_Scored]) -> list[_Case]:
        """Each part of the places, with thresholds from the others."""
        cases = []
        for trunk, own in zip(self._tested, scored, strict=True):
            others = [each for each in scored if each is not own] or [own]
            for part in own.parts:
                thresholds = self._thresholds(
                    own.alone(part.part), _events_of(others, part.part)
                )
                cases.append(_Case(trunk.folds, part, thresholds))
        return cases

    def _detect_in_places(
        self,
        cases: Sequence[_Case],
        thresholds: Callable[[_Case], dict[str, Thresholds]],
    ) -> tuple[list[StreamResult], dict[tuple[int, ...], list[StreamResult]]]:
        """Detect in the places alone, and under events, by the folds of these."""
        alone: list[StreamResult] = []
        by_folds: dict[tuple[int, ...], list[StreamResult]] = {}
        for case in cases:
            chosen = thresholds(case)
            alone += self._detect(case.scores.alone, chosen)
            found = by_folds.setdefault(case.folds, [])
            found += self._detect(case.scores.events, chosen)
        return alone, by_folds

    def _figures(
        self, cases: Sequence[_Case], scored: Sequence[_Scored]
    ) -> dict[str, Any]:
        """Figures of the test."""
        alone, by_folds = self._detect_in_places(
            cases,
            lambda case: {k: each.for_card() for k, each in case.thresholds.items()},
        )
        tops = top_scores(
            [stream for own in scored for stream in own.alone()],
            self._labels,
            self._stage.spec,
        )
        events = [result for found in by_folds.values() for result in found]
        figures = place_figures(
            alone,
            events,
            tops,
            self._labels,
            self._places.groups(),
            self._masked_seconds,
        )
        figures["teacher_detects"] = most_masked(self._masked_seconds)
        return {
            "places": figures,
            "streams": (
                stream_figures(events, self._labels)
                if len(by_folds) == 1
                else stream_figures_by_fold(
                    {folds[0]: found for folds, found in by_folds.items()}, self._labels
                )
            ),
        }

    def _with_curves(
        self,
        thresholds: dict[str, Threshold],
        last: _Scored,
        cases: Sequence[_Case],
    ) -> dict[str, Thresholds]:
        """Measure the curves of the shipped model, by the networks of the test.

        At a point the thresholds of each case lie as far from its own as those of the
        shipped model from its; so no place that set a threshold is in a figure.
        """

        def detected(
            onsets: Mapping[str, float],
        ) -> tuple[list[StreamResult], list[StreamResult]]:
            alone, by_folds = self._detect_in_places(
                cases,
                lambda case: {
                    name: moved(case.thresholds[name], thresholds[name].onset, onset)
                    for name, onset in onsets.items()
                },
            )
            return alone, [result for found in by_folds.values() for result in found]

        tops = top_scores(last.alone(), self._labels, self._stage.spec)
        found = curves(thresholds, tops, self._masked_seconds, detected)
        middle = {name: curve[len(curve) // 2] for name, curve in found.items()}
        return {
            name: Thresholds(
                onset=each.onset,
                offset=each.offset,
                false_alarms_per_hour=middle[name].false_alarms_per_hour,
                curve=found[name],
            )
            for name, each in thresholds.items()
        }

    def _write_fold(
        self,
        trunk: Trunk,
        heads: Heads,
        figures: dict[str, Any],
        calibrations: dict[int, Calibration],
        shipped: dict[str, Thresholds],
    ) -> None:
        """Write the network of a fold, for `evaluate --run`."""
        fold = trunk.folds[0]
        facts = {"tested": f"see folds: {fold}", "folds": figures["folds"]}
        network, experiment = heads.all_places, self._experiment
        card = experiment.card(network, calibrations[fold], facts, trunk.folds)
        plain = {
            name: each.model_copy(update={"curve": ()})
            for name, each in shipped.items()
        }
        card = card.model_copy(update={"thresholds": plain})
        path = trunk.folder.path / "model.safetensors"
        experiment.write(network, path, card, self._stage.spec)


def _events_of(
    scored: Sequence[_Scored], without: int | None = None
) -> list[ScoredStream]:
    return [stream for own in scored for stream in own.events(without)]
