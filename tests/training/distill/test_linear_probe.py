"""The linear probe is tested on recordings that it was not trained on."""

from pathlib import Path

import numpy as np

from training.data.manifest import Clip
from training.distill.teacher import embedding_accuracy


def clips_of(truth: np.ndarray) -> list[Clip]:
    return [
        Clip(Path(f"{n}.wav"), int(label), str(n), fold=n % 2)
        for n, label in enumerate(truth)
    ]


def test_an_embedding_that_separates_the_labels_is_always_right() -> None:
    truth = np.arange(60) // 2 % 3
    clear = np.eye(3, dtype=np.float32)[truth]
    figures = embedding_accuracy(clear, clips_of(truth), [1])
    assert figures == {"1": 1.0, "together": 1.0}


def test_memorised_clips_do_not_help() -> None:
    """Each clip has an embedding of its own, which says nothing of another's label."""
    truth = np.random.default_rng(0).integers(0, 2, 200)
    figures = embedding_accuracy(np.eye(200, dtype=np.float32), clips_of(truth), [0, 1])
    assert set(figures) == {"0", "1", "together"}
    assert figures["together"] < 0.7
