"""Figures of scores: accuracy with its interval, per-class figures, calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.manifest import NO_FOLD

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
RESAMPLES = 2000
BINS = 15


def group_interval(
    right: NDArray[np.bool_], groups: Sequence[str], seed: int = 0
) -> tuple[float, float]:
    """Interval that holds 95 % of the accuracies of resampled recordings.

    Whole groups are drawn, with replacement: slices of one recording are right or
    wrong together, and an interval over clips would be far too narrow.
    """
    return ratio_interval(right, np.ones(len(right)), groups, seed)


def ratio_interval(
    parts: Floats | NDArray[np.bool_],
    wholes: Floats,
    groups: Sequence[str],
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the ratio of two sums, (n,) each, over resampled groups."""
    low, high = np.quantile(resampled(parts, wholes, groups, seed), [0.025, 0.975])
    return float(low), float(high)


def resampled(
    parts: Floats | NDArray[np.bool_],
    wholes: Floats,
    groups: Sequence[str],
    seed: int = 0,
) -> NDArray[np.float64]:
    """(RESAMPLES,): the ratio of two sums, with groups drawn with replacement."""
    names = {name: place for place, name in enumerate(sorted(set(groups)))}
    member = np.array([names[group] for group in groups])
    upper = np.bincount(member, weights=parts, minlength=len(names))
    lower = np.bincount(member, weights=wholes, minlength=len(names))
    r = np.random.default_rng(seed)
    drawn = r.integers(0, len(names), (RESAMPLES, len(names)))
    sums = lower[drawn].sum(axis=1)
    return np.asarray(upper[drawn].sum(axis=1) / np.maximum(sums, 1e-12))


def confusion_matrix(truth: Ints, chosen: Ints, count: int) -> Ints:
    """Counts of clips, (count, count); rows are the true labels."""
    cells = np.bincount(truth * count + chosen, minlength=count * count)
    return np.asarray(cells.reshape(count, count))


def calibration_error(
    confidence: Floats, right: NDArray[np.bool_], bins: int = BINS
) -> float:
    """Expected calibration error: mean gap between confidence and share right.

    Over `bins` equal bins of (0, 1], weighted by how many fall into each (Guo et al.,
    "On Calibration of Modern Neural Networks", 2017).
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    stated = np.bincount(place, weights=confidence, minlength=bins)
    true = np.bincount(place, weights=right, minlength=bins)
    return float(np.abs(stated - true).sum() / max(count.sum(), 1))


def clip_figures(
    scores: Floats, truth: Ints, groups: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Figures of clips that have one label each.

    Scores are (clips, labels) in [0, 1], `truth` is the index of each clip's label, and
    `groups` the recording of each clip.

    Returns:
        clips, accuracy, accuracy_ci95, macro_f1, per_class, calibration errors and
        the confusion matrix, rows being the truth.
    """
    chosen = scores.argmax(axis=1)
    right = chosen == truth
    confusion = confusion_matrix(truth, chosen, len(labels))
    found, clips = confusion.sum(axis=0), confusion.sum(axis=1)
    hits = confusion.diagonal()
    precision, recall = hits / np.maximum(found, 1), hits / np.maximum(clips, 1)
    f1 = 2 * hits / np.maximum(found + clips, 1)
    present = np.flatnonzero(clips).tolist()
    per_class = {
        labels[index]: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "clips": int(clips[index]),
            "groups": len(
                {group for group, of in zip(groups, truth, strict=True) if of == index}
            ),
        }
        for index in present
    }
    is_label = np.eye(len(labels), dtype=bool)[truth]
    return {
        "clips": len(truth),
        "accuracy": float(right.mean()),
        "accuracy_ci95": list(group_interval(right, groups)),
        "macro_f1": float(np.mean([f1[index] for index in present])),
        "per_class": per_class,
        "expected_calibration_error": calibration_error(scores.max(axis=1), right),
        "expected_calibration_error_all_labels": calibration_error(
            scores.ravel(), is_label.ravel()
        ),
        "confusion": confusion.tolist(),
    }


def folded_figures(
    scores: Floats,
    truth: Ints,
    groups: Sequence[str],
    folds: Ints,
    labels: Sequence[str],
) -> dict[str, Any]:
    """The figures of all clips, and in `folds` the main ones of each fold."""
    figures = clip_figures(scores, truth, groups, labels)
    figures["folds"] = {}
    for fold in sorted(set(folds.tolist()) - {NO_FOLD}):
        of = np.flatnonzero(folds == fold)
        own = [groups[int(index)] for index in of]
        part = clip_figures(scores[of], truth[of], own, labels)
        figures["folds"][str(fold)] = {
            key: part[key]
            for key in (
                *("clips", "accuracy", "accuracy_ci95", "macro_f1"),
                "expected_calibration_error",
            )
        }
    return figures
