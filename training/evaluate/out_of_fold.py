"""Out-of-fold predictions: calibration, thresholds and figures from them.

Every logit here is of a recording that the network was not trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.model.thresholds import Thresholds
from training.config import TrainingSettings
from training.data.manifest import Clip
from training.evaluate.ambience import Ambience, highest_of_segments
from training.evaluate.clips import (
    ClipWindows,
    clip_report,
    negatives_figures,
    per_clip,
    sigmoid,
)
from training.evaluate.thresholds import Threshold, fit_temperature, thresholds_for

Array = NDArray[np.float32]
TESTED_IN_TURN = "by cross-validation: each fold by a network not trained on it"


@dataclass(frozen=True, slots=True)
class OutOfFoldLogits:
    """Logits of windows by networks that were not trained on them."""

    windows: ClipWindows
    logits: Array
    """(windows, labels)."""
    part: NDArray[np.intp]
    """(clips,): values for a clip are fitted on the other parts only."""

    @property
    def window_part(self) -> NDArray[np.intp]:
        """(windows,): the part of each window's clip."""
        return self.part[self.windows.clip_of]

    def clips_of(self, part: int) -> list[Clip]:
        """Return the clips of a part."""
        return [
            self.windows.clips[index] for index in np.flatnonzero(self.part == part)
        ]

    def present(self) -> NDArray[np.bool_]:
        """(windows, labels): which label sounds."""
        truth = self.windows.truth[self.windows.clip_of]
        return np.asarray(truth[:, None] == np.arange(self.logits.shape[1]))


def join_logits(parts: Sequence[OutOfFoldLogits]) -> OutOfFoldLogits:
    """Join the clips of several networks."""
    clips = tuple(clip for part in parts for clip in part.windows.clips)
    before = np.cumsum([0, *(len(part.windows.clips) for part in parts)])
    windows = ClipWindows(
        clips,
        np.concatenate([part.windows.log_mel for part in parts]),
        np.concatenate(
            [part.windows.clip_of + b for part, b in zip(parts, before, strict=False)]
        ),
    )
    logits = np.concatenate([part.logits for part in parts])
    return OutOfFoldLogits(
        windows, logits, np.concatenate([part.part for part in parts])
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperatures and thresholds of a model."""

    temperatures: Array
    thresholds: tuple[Threshold, ...]
    """Empty without negatives."""

    def card_thresholds(self) -> list[Thresholds]:
        """Return the thresholds as the card of a model has them."""
        return [found.for_card() for found in self.thresholds]


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """All out-of-fold predictions of one or several networks."""

    clips: OutOfFoldLogits
    """Predictions of the clips, which have labels."""
    negatives: OutOfFoldLogits | None
    """Clips of no class."""
    ambience: tuple[Ambience, ...]
    """Hours of no class, for the thresholds."""

    def calibrate(
        self,
        labels: Sequence[str],
        settings: TrainingSettings,
        without_part: int | None = None,
        ambience: Sequence[Ambience] | None = None,
    ) -> Calibration:
        """Fit temperature and thresholds, without the clips of `without_part`.

        `ambience` takes the place of `self.ambience` for the thresholds.
        """
        rows = self.clips.window_part != without_part
        logits, present = self.clips.logits[rows], self.clips.present()[rows]
        temperature = fit_temperature(logits, present)
        temperatures: Array = np.full(present.shape[1], temperature, np.float32)
        trials, hours = [], 0.0
        for each in self.ambience if ambience is None else ambience:
            if without_part is not None and without_part not in each.serves:
                continue
            scores = sigmoid(each.logits / temperatures)
            highest, hops = highest_of_segments(scores, labels, settings.spec)
            trials.append(highest)
            hours += len(highest) * hops * each.hop_seconds / 3600
        if not trials:
            return Calibration(temperatures, ())
        found = thresholds_for(
            np.concatenate(trials),
            hours,
            settings.false_alarms_per_hour,
            self._scores_by_label(rows, logits / temperatures),
            settings.highest_onset,
        )
        return Calibration(temperatures, tuple(found))

    def _scores_by_label(self, rows: NDArray[np.bool_], logits: Array) -> list[Array]:
        """Own scores of each label's clips, of those whose windows are in `rows`."""
        windows = self.clips.windows
        scores = np.zeros_like(self.clips.logits)
        scores[rows] = sigmoid(logits)
        chosen = np.unique(windows.clip_of[rows])
        values, truth = per_clip(scores, windows)[chosen], windows.truth[chosen]
        return [values[truth == label, label] for label in range(logits.shape[1])]

    def conclude(
        self, labels: Sequence[str], settings: TrainingSettings
    ) -> tuple[dict[str, Any], dict[int, Calibration]]:
        """Compute figures in which each part is judged by values from the others.

        Returns:
            The figures, and the calibration of each part.
        """
        calibrations = {
            int(part): self.calibrate(labels, settings, int(part))
            for part in np.unique(self.clips.part)
        }
        scores = calibrated_scores(self.clips, calibrations)
        figures = clip_report(scores, self.clips.windows, labels)
        if recalls := _recalls(scores, self.clips, calibrations, labels):
            figures["recall_at_thresholds"] = recalls
        if self.negatives is not None:
            figures["negatives"] = negatives_report(self.negatives, calibrations)
        return figures, calibrations


def calibrate_parts(
    predicted: OutOfFold,
    ambience: Sequence[Ambience],
    labels: Sequence[str],
    settings: TrainingSettings,
) -> dict[int, Calibration]:
    """Fit a calibration for each part that an ambience serves."""
    served = sorted({part for each in ambience for part in each.serves})
    own = {part: [each for each in ambience if part in each.serves] for part in served}
    return {
        part: predicted.calibrate(labels, settings, ambience=own[part]) for part in own
    }


def join_out_of_fold(parts: Sequence[OutOfFold]) -> OutOfFold:
    """Join the predictions of several networks."""
    negatives = [part.negatives for part in parts if part.negatives is not None]
    return OutOfFold(
        join_logits([part.clips for part in parts]),
        join_logits(negatives) if negatives else None,
        tuple(each for part in parts for each in part.ambience),
    )


def calibrated_scores(
    clips: OutOfFoldLogits, calibrations: dict[int, Calibration]
) -> Array:
    """(clips, labels), each with temperatures that its own part did not fit."""
    scores = np.zeros_like(clips.logits)
    for part, calibration in calibrations.items():
        rows = clips.window_part == part
        scores[rows] = sigmoid(clips.logits[rows] / calibration.temperatures)
    return per_clip(scores, clips.windows)


def _recalls(
    scores: Array,
    clips: OutOfFoldLogits,
    calibrations: dict[int, Calibration],
    labels: Sequence[str],
) -> dict[str, float]:
    """Share of each label's clips at or above its onset threshold."""
    truth = clips.windows.truth
    recalls = {}
    for index, label in enumerate(labels):
        own = np.flatnonzero(truth == index)
        onsets = [
            calibrations[int(clips.part[clip])].thresholds[index].onset
            for clip in own
            if calibrations[int(clips.part[clip])].thresholds
        ]
        if onsets:
            recalls[label] = float((scores[own, index] >= np.array(onsets)).mean())
    return recalls


def negatives_report(
    negatives: OutOfFoldLogits, calibrations: dict[int, Calibration]
) -> dict[str, Any]:
    """Shares of the clips of no class that reach an onset threshold, or 0.5."""
    scores = np.zeros_like(negatives.logits)
    onsets = np.full_like(negatives.logits, np.inf, np.float64)
    for part, calibration in calibrations.items():
        rows = negatives.window_part == part
        if calibration.thresholds:
            logits = negatives.logits[rows] / calibration.temperatures
            scores[rows] = sigmoid(logits)
            onsets[rows] = [found.onset for found in calibration.thresholds]
    return negatives_figures(scores, onsets, negatives.windows)
