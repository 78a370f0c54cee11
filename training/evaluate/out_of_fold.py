"""What networks say of recordings they never heard, and what is concluded from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.config import TrainingSettings
from training.data.manifest import Clip
from training.evaluate.ambience import Ambience, highest_of_segments
from training.evaluate.clips import ClipWindows, clip_report, per_clip, sigmoid
from training.evaluate.thresholds import Threshold, fit_temperature, thresholds_for

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Logits of windows by networks that have not heard them."""

    windows: ClipWindows
    logits: Array
    """(windows, labels)."""
    part: NDArray[np.intp]
    """(clips,): what is fitted for a clip is fitted on the other parts only."""

    @property
    def window_part(self) -> NDArray[np.intp]:
        """(windows,): the part of each window's clip."""
        return self.part[self.windows.clip_of]

    def clips_of(self, part: int) -> list[Clip]:
        """The clips of a part."""
        return [
            self.windows.clips[index] for index in np.flatnonzero(self.part == part)
        ]

    def present(self) -> NDArray[np.bool_]:
        """(windows, labels): which label sounds."""
        truth = self.windows.truth[self.windows.clip_of]
        return np.asarray(truth[:, None] == np.arange(self.logits.shape[1]))


def join_held_out(parts: Sequence[HeldOut]) -> HeldOut:
    """Put the clips of several networks together."""
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
    return HeldOut(windows, logits, np.concatenate([part.part for part in parts]))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperatures and thresholds of a model."""

    temperatures: Array
    thresholds: tuple[Threshold, ...]
    """Empty without negatives."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that networks have said of what they never heard."""

    clips: HeldOut
    """With labels."""
    negatives: HeldOut | None
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
        """Fit temperature and thresholds, without what the judged part is tested on.

        Args:
            labels: Names.
            settings: Of the run.
            without_part: Is judged, so its clips are not looked at; None: all are.
            ambience: Taken for the thresholds instead of the own.
        """
        rows = self.clips.window_part != without_part
        logits, present = self.clips.logits[rows], self.clips.present()[rows]
        temperature = fit_temperature(logits, present)
        temperatures: Array = np.full(present.shape[1], temperature, np.float32)
        trials, hours = [], 0.0
        for heard in self.ambience if ambience is None else ambience:
            if without_part is not None and without_part not in heard.serves:
                continue
            scores = sigmoid(heard.logits / temperatures)
            highest, hops = highest_of_segments(scores, labels, settings.spec)
            trials.append(highest)
            hours += len(highest) * hops * heard.hop_seconds / 3600
        if not trials:
            return Calibration(temperatures, ())
        found = thresholds_for(
            np.concatenate(trials),
            hours,
            settings.false_alarms_per_hour,
            self._told(rows, logits / temperatures),
            settings.highest_onset,
        )
        return Calibration(temperatures, tuple(found))

    def _told(self, rows: NDArray[np.bool_], logits: Array) -> list[Array]:
        """For each label the scores of the clips whose windows these are."""
        windows = self.clips.windows
        scores = np.zeros_like(self.clips.logits)
        scores[rows] = sigmoid(logits)
        asked = np.unique(windows.clip_of[rows])
        told, truth = per_clip(scores, windows)[asked], windows.truth[asked]
        return [told[truth == label, label] for label in range(logits.shape[1])]

    def conclude(
        self, labels: Sequence[str], settings: TrainingSettings
    ) -> tuple[dict[str, Any], dict[int, Calibration]]:
        """Figures in which each part is judged by what the others have fitted.

        Returns:
            The figures, and the calibration that judged each part.
        """
        parts = {
            int(part): self.calibrate(labels, settings, int(part))
            for part in np.unique(self.clips.part)
        }
        return report(self.clips, self.negatives, parts, labels), parts


def calibrate_parts(
    heard: Evidence,
    ambience: Sequence[Ambience],
    labels: Sequence[str],
    settings: TrainingSettings,
) -> dict[int, Calibration]:
    """For each part that an ambience serves, what it gives."""
    served = sorted({part for each in ambience for part in each.serves})
    own = {part: [each for each in ambience if part in each.serves] for part in served}
    return {part: heard.calibrate(labels, settings, ambience=own[part]) for part in own}


def join_evidence(parts: Sequence[Evidence]) -> Evidence:
    """Put what several networks have said together."""
    negatives = [part.negatives for part in parts if part.negatives is not None]
    return Evidence(
        join_held_out([part.clips for part in parts]),
        join_held_out(negatives) if negatives else None,
        tuple(heard for part in parts for heard in part.ambience),
    )


def report(
    clips: HeldOut,
    negatives: HeldOut | None,
    calibrations: dict[int, Calibration],
    labels: Sequence[str],
) -> dict[str, Any]:
    """Figures in which every clip is judged by what the other parts have fitted."""
    per = judged_scores(clips, calibrations)
    figures = clip_report(per, clips.windows, labels)
    hits = _hit_rates(per, clips, calibrations, labels)
    if hits:
        figures["recall_at_thresholds"] = hits
    if negatives is not None:
        figures["negatives"] = negatives_report(negatives, calibrations)
    return figures


def judged_scores(clips: HeldOut, calibrations: dict[int, Calibration]) -> Array:
    """(clips, labels), each with the temperatures that its own part did not fit."""
    scores = np.zeros_like(clips.logits)
    for part, calibration in calibrations.items():
        rows = clips.window_part == part
        scores[rows] = sigmoid(clips.logits[rows] / calibration.temperatures)
    return per_clip(scores, clips.windows)


def _hit_rates(
    scores: Array,
    clips: HeldOut,
    calibrations: dict[int, Calibration],
    labels: Sequence[str],
) -> dict[str, float]:
    """Share of each label's clips at or above its onset threshold."""
    truth = clips.windows.truth
    rates = {}
    for index, label in enumerate(labels):
        own = np.flatnonzero(truth == index)
        onsets = [
            calibrations[int(clips.part[clip])].thresholds[index].onset
            for clip in own
            if calibrations[int(clips.part[clip])].thresholds
        ]
        if onsets:
            rates[label] = float((scores[own, index] >= np.array(onsets)).mean())
    return rates


def negatives_report(
    negatives: HeldOut, calibrations: dict[int, Calibration]
) -> dict[str, Any]:
    """How often material of no class reaches an onset threshold, clip by clip."""
    alarms = np.zeros(len(negatives.windows.clips), bool)
    above_half = np.zeros(len(negatives.windows.clips), bool)
    for part, calibration in calibrations.items():
        rows = np.flatnonzero(negatives.window_part == part)
        if len(rows) == 0 or not calibration.thresholds:
            continue
        scores = sigmoid(negatives.logits[rows] / calibration.temperatures)
        onsets = np.array([threshold.onset for threshold in calibration.thresholds])
        clip_of = negatives.windows.clip_of[rows]
        np.logical_or.at(alarms, clip_of, (scores >= onsets).any(axis=1))
        np.logical_or.at(above_half, clip_of, (scores >= 0.5).any(axis=1))
    return {
        "clips": len(alarms),
        "share_above_threshold": float(alarms.mean()),
        "share_above_0.5": float(above_half.mean()),
    }
