import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from training.data.manifest import NO_FOLD
from training.evaluate.metrics import (
    calibration_error,
    clip_figures,
    folded_figures,
    group_interval,
)

LABELS = ("a", "b", "c")


def test_figures_agree_with_scikit_learn() -> None:
    r = np.random.default_rng(0)
    scores, truth = r.random((200, 3)), r.integers(0, 3, 200)
    figures = clip_figures(scores, truth, [str(n // 4) for n in range(200)], LABELS)
    chosen = scores.argmax(1)
    assert figures["accuracy"] == pytest.approx(accuracy_score(truth, chosen))
    assert figures["macro_f1"] == pytest.approx(
        f1_score(truth, chosen, average="macro")
    )
    assert np.sum(figures["confusion"]) == 200


def test_a_hand_made_case() -> None:
    scores = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0]])
    figures = clip_figures(scores, np.array([0, 1, 1]), ["x", "y", "y"], LABELS)
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert figures["per_class"]["b"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "clips": 2,
        "groups": 1,
    }
    assert "c" not in figures["per_class"]  # there is no clip of it


def test_confidence_that_comes_true_has_no_calibration_error() -> None:
    confidence = np.repeat([0.25, 0.75], 400)
    right = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0])
    assert calibration_error(confidence, right) == pytest.approx(0, abs=1e-9)


def test_boasting_is_a_calibration_error() -> None:
    right = np.arange(100) % 2 == 0
    assert calibration_error(np.full(100, 0.9), right) == pytest.approx(0.4)


def test_the_interval_is_wider_when_slices_stem_from_few_recordings() -> None:
    right = np.repeat(np.arange(20) % 3 != 0, 10)  # all slices of one agree
    by_clip = group_interval(right, [str(n) for n in range(200)])
    by_recording = group_interval(right, [str(n // 10) for n in range(200)])
    assert np.diff(by_recording) > 2 * np.diff(by_clip)
    assert by_recording[0] <= right.mean() <= by_recording[1]


def test_each_fold_has_figures_of_its_own() -> None:
    scores = np.eye(3)[[0, 1, 2, 0]]
    figures = folded_figures(
        scores, np.array([0, 1, 2, 1]), list("wxyz"), np.array([1, 1, 2, 2]), LABELS
    )
    accuracies = {fold: part["accuracy"] for fold, part in figures["folds"].items()}
    assert accuracies == {"1": 1.0, "2": 0.5}


def test_clips_of_no_fold_are_no_fold_of_the_figures() -> None:
    truth, folds = np.array([0, 1, 0]), np.array([NO_FOLD, 0, 0])
    figures = folded_figures(np.eye(2)[truth], truth, ["a", "b", "c"], folds, "xy")
    assert {fold: part["clips"] for fold, part in figures["folds"].items()} == {"0": 2}
