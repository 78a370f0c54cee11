"""New thresholds for a model, from hours without its labels; and their recall cost.

The recall cost of thresholds is the true events that the monitor no longer detects.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.config.detection import DEFAULT_SENSITIVITY, DetectionSettings
from monitor.errors import DatasetError
from monitor.model.card import ModelCard
from monitor.model.classifier import Classifier
from monitor.model.models import Models
from monitor.model.thresholds import Thresholds, highest_rate
from training.data.decoded import Advance
from training.data.manifest import LeftOut, left_out_lines
from training.data.recordings import find_background
from training.evaluate.ambience import (
    highest_of_segments,
    hop_seconds,
    segment_seconds,
)
from training.evaluate.thresholds import (
    HIGHEST_ONSET,
    LOWEST_ONSET,
    Threshold,
    thresholds_for,
)
from training.streams.evaluate import (
    file_blocks,
)
from training.streams.metrics import stream_figures
from training.streams.scored import ScoredStream, detect, score_frames

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]

_HARDLY = 0.1
"""Share of the events detected below which a label is as good as not detected."""


@dataclass(frozen=True, slots=True)
class LabelThreshold:
    """A threshold of a label, with its false alarms and its recall."""

    label: str
    threshold: Threshold
    counted: int
    """Segments of the background that reach it."""
    rate_at_most: float
    """Upper limit of the false alarms an hour, with 95 % confidence."""
    recall: float | None
    """Share of the label's clips, or confirmed events, that reach it; None: there are
    none."""
    is_kept: bool = False
    """It is that of the model file: the background is too short to justify a lower."""
    reported_recall: float | None = None
    """Share of the events 12 to 20 dB above the background that are detected, by the
    curve in the model file; beyond the curve, that at its nearer end.  None: there is
    no curve, or it had no such events."""
    beyond_curve: Literal["above", "below"] | None = None
    """The end of the curve that the threshold lies beyond."""


def background_scores(
    folder: Path,
    classifier: Models | Classifier,
    detection: DetectionSettings,
    advance: Advance,
) -> tuple[Array, float]:
    """Find the highest scores of every few seconds of all recordings below a folder.

    They are those of the monitor: zero below the level gate.

    Returns:
        (segments, labels), and their length in hours.

    Raises:
        DatasetError: There is no recording, or all are too short for a segment.
    """
    found = find_background(folder)
    files, left_out = found.files, found.left_out
    spec = classifier.spec
    parts, hops = [], 1
    shortest = segment_seconds(spec, detection)
    # Rules decide nothing here, and may not fit the thresholds of this model.
    scoring = detection.model_copy(
        update={"labels": {}, "sensitivity": DEFAULT_SENSITIVITY}
    )
    for number, path in enumerate(files, start=1):
        blocks = file_blocks(path, spec.sample_rate)
        reason = f"shorter than {shortest:.1f} s"
        try:
            frames = score_frames(blocks, classifier, scoring)
            scores = np.array([frame.scores for frame in frames], np.float32)
        except DatasetError as error:
            scores = np.zeros((0, 0), np.float32)
            reason = str(error).removeprefix(f"{path}: ")
        if scores.size:
            highest, hops = highest_of_segments(
                scores[None], classifier.labels, spec, detection
            )
            parts.append(highest)
        if not (scores.size and len(highest)):
            left_out.append(LeftOut(path, reason))
        advance("scoring the background", number, len(files))
    for line in left_out_lines(left_out):
        logger.warning("%s", line)
    segments = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    if len(segments) == 0:
        raise DatasetError(
            f"{folder}: holds no recording of a background of {shortest:.1f} s or more"
        )
    seconds = len(segments) * hops * hop_seconds(spec, detection)
    return segments, seconds / 3600


def label_thresholds(
    segments: Array,
    hours: float,
    false_alarms_per_hour: float,
    labels: Sequence[str],
    own: Sequence[Array] = (),
    shipped: Mapping[str, Thresholds] | None = None,
    label_hours: NDArray[np.float64] | None = None,
) -> list[LabelThreshold]:
    """Find thresholds for a budget, with their false alarms and their recall.

    No threshold of the model file is lowered unless the background is as long as
    `shortest_hours`: silence for a few minutes says nothing of a rate of two a day.

    Args:
        segments: (segments, labels), highest scores of a background.
        hours: Length of the background.
        false_alarms_per_hour: Budget over all labels.
        labels: Names.
        own: For each label the scores of clips or events in which it sounds.  They
            decide how the budget is divided, unless a label has none: then all labels
            get an equal share.
        shipped: Thresholds of the model file, by label.
        label_hours: Length of the background for each label, if they differ.
    """
    before = shipped or {}
    own_hours = [hours] * len(labels)
    if label_hours is not None:
        own_hours = label_hours.tolist()
    floors = [
        min(LOWEST_ONSET, before[label].onset) if label in before else LOWEST_ONSET
        for label in labels
    ]
    found = thresholds_for(
        segments,
        own_hours,
        false_alarms_per_hour,
        own,
        lowest_onset=floors,
        is_own_place=True,
    )
    kept: set[str] = set()
    if hours < shortest_hours(false_alarms_per_hour):
        kept = {
            label
            for label, threshold in zip(labels, found, strict=True)
            if label in before and before[label].onset > threshold.onset
        }
        found = _with_kept(segments, own_hours, labels, found, before, kept)
    result = []
    for index, (label, threshold) in enumerate(zip(labels, found, strict=True)):
        counted = int((segments[:, index] >= threshold.onset).sum())
        recall = None
        if own and len(own[index]):
            recall = float((own[index] >= threshold.onset).mean())
        most = highest_rate(counted, float(own_hours[index]))
        each = LabelThreshold(
            label, threshold, counted, most, recall, is_kept=label in kept
        )
        result.append(_with_reported_recall(each, before.get(label)))
    return result


def shortest_hours(false_alarms_per_hour: float) -> float:
    """Length of a background that can show a rate: with none in it, 3 / rate."""
    return highest_rate(0, 1) / false_alarms_per_hour


def _with_kept(
    segments: Array,
    hours: Sequence[float],
    labels: Sequence[str],
    found: Sequence[Threshold],
    before: Mapping[str, Thresholds],
    kept: set[str],
) -> list[Threshold]:
    """Put the thresholds of the model file in place of some, with their rates."""
    onsets = [
        before[label].onset if label in kept else threshold.onset
        for label, threshold in zip(labels, found, strict=True)
    ]
    # With no budget at all, each threshold is the highest that is allowed.
    rated = thresholds_for(
        segments, hours, 0.0, highest_onset=onsets, is_own_place=True
    )
    return [
        replace(own, onset=before[label].onset, offset=before[label].offset)
        if label in kept
        else threshold
        for label, threshold, own in zip(labels, found, rated, strict=True)
    ]


def _with_reported_recall(
    each: LabelThreshold, before: Thresholds | None
) -> LabelThreshold:
    if before is None or not before.curve:
        return each
    strictest, loosest = before.curve[0], before.curve[-1]
    onset = each.threshold.onset
    if (point := before.expected_at(onset)) is not None:
        return replace(each, reported_recall=point.detected_near)
    if onset > strictest.onset:
        share = strictest.detected_near
        return replace(each, reported_recall=share, beyond_curve="above")
    share = loosest.detected_near
    return replace(each, reported_recall=share, beyond_curve="below")


def with_thresholds(card: ModelCard, found: Sequence[LabelThreshold]) -> ModelCard:
    """Return the card with these thresholds in place of its own.

    The curve of a label goes with its threshold, where that lies on it.
    """
    thresholds = {each.label: each.threshold.for_card() for each in found}
    for label in thresholds.keys() & card.thresholds.keys():
        curve = card.thresholds[label].curve_through(thresholds[label].onset)
        thresholds[label] = thresholds[label].model_copy(update={"curve": curve})
    # The labels that were not chosen keep theirs.
    thresholds = {**card.thresholds, **thresholds}
    return card.model_copy(update={"thresholds": thresholds})


def lost_curves(before: ModelCard, after: ModelCard) -> list[str]:
    """Return the labels whose curve a change of their thresholds has left out."""
    return [
        label
        for label, own in before.thresholds.items()
        if own.curve
        and not (label in after.thresholds and after.thresholds[label].curve)
    ]


@dataclass(frozen=True, slots=True)
class RecallCost:
    """True events of one label, and how many are missed."""

    events: int
    missed_before: int
    """Figures with the thresholds that the model had."""
    missed: int
    """Figures with the new thresholds."""


def recall_costs(
    streams: Sequence[ScoredStream],
    classifier: Models | Classifier,
    detection: DetectionSettings,
    thresholds: Mapping[str, Thresholds],
) -> dict[str, RecallCost]:
    """Count by label the true events missed before and after a change."""
    before, after = (
        stream_figures(
            [
                detect(
                    stream,
                    classifier.labels,
                    classifier.spec,
                    rules,
                    chosen,
                    classifier.presets,
                )
                for stream in streams
            ],
            classifier.labels,
        )["per_class"]
        for rules, chosen in (
            (detection, classifier.thresholds),
            (detection.without_thresholds(), thresholds),
        )
    )
    return {
        label: RecallCost(
            after[label]["events"], before[label]["missed"], after[label]["missed"]
        )
        for label in classifier.labels
        if label in after and label in before and after[label]["events"]
    }


def hardly_detected(
    found: Sequence[LabelThreshold], costs: Mapping[str, RecallCost]
) -> list[str]:
    """Return the labels of which hardly an event is detected, as far as is known.

    What was measured now counts before the curve in the model file.
    """
    return [each.label for each in found if _is_lost(each, costs.get(each.label))]


def _is_lost(each: LabelThreshold, cost: RecallCost | None) -> bool:
    if cost is not None:
        return 1 - cost.missed / cost.events < _HARDLY
    if each.recall is not None:
        return each.recall < _HARDLY
    if each.beyond_curve == "above":
        return True
    if each.reported_recall is not None:
        return each.reported_recall < _HARDLY
    return each.threshold.onset >= HIGHEST_ONSET
