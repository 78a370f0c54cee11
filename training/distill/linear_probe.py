"""Linear probe: accuracy of a logistic regression on the teacher's embedding."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monitor.spec import ModelSpec
from training.data.decoded import Advance
from training.data.manifest import Clip
from training.distill.teacher import Teacher
from training.mixtures.material import Material

Array = NDArray[np.float32]
_SHORTEST_SECONDS = 1
_INVERSE_RIDGE = 0.01
_ITERATIONS = 2000


def teacher_figures(
    teacher: Teacher,
    material: Material,
    spec: ModelSpec,
    folds: Iterable[int],
    advance: Advance,
) -> dict[str, Any]:
    """Probe the teacher's embedding of whole clips, at their true length.

    Returns:
        `teacher_embedding_accuracy`; nothing if the teacher has no embedding.
    """
    clips, rows = material.manifest.clips, []
    for number, clip in enumerate(clips, start=1):
        samples = material.store.read(clip.path)
        waveform = teacher.waveform(samples, spec.sample_rate)
        missing = _SHORTEST_SECONDS * teacher.sample_rate - len(waveform)
        outputs = teacher.run(np.pad(waveform, (0, max(0, missing))))
        if outputs.embedding is None:
            return {}
        rows.append(outputs.embedding[0])
        advance("running the teacher", number, len(clips))
    return {
        "teacher_embedding_accuracy": embedding_accuracy(np.stack(rows), clips, folds)
    }


def embedding_accuracy(
    embedding: Array, clips: Sequence[Clip], folds: Iterable[int]
) -> dict[str, float]:
    """Compute the accuracy of a logistic regression on embeddings (clips, size).

    It is trained on the same clips as a student of the fold.

    Returns:
        By the number of the fold, as text, and `together` over all their clips.
    """
    truth = np.array([clip.label for clip in clips])
    fold_of = np.array([clip.fold for clip in clips])
    right = {}
    for fold in folds:
        known, new = fold_of != fold, fold_of == fold
        regression = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=_INVERSE_RIDGE, max_iter=_ITERATIONS),
        )
        regression.fit(embedding[known], truth[known])
        right[str(fold)] = regression.predict(embedding[new]) == truth[new]
    together = float(np.concatenate(list(right.values())).mean())
    return {
        **{fold: float(own.mean()) for fold, own in right.items()},
        "together": together,
    }
