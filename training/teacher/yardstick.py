"""How well the teacher's own embedding tells the labels: what a student is held to."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.clips.manifest import Clip
from training.clips.store import ClipStore
from training.teacher.distill import Teacher

Array = NDArray[np.float32]
_SHORTEST_SECONDS = 1
_INVERSE_RIDGE = 0.01
_ITERATIONS = 2000


def clip_embeddings(
    teacher: Teacher,
    clips: Sequence[Clip],
    store: ClipStore,
    sample_rate: int,
    advance: Callable[[int, int], None],
) -> Array | None:
    """What a teacher makes of whole clips, at their true length.

    Args:
        teacher: Is asked once for each clip.
        clips: Any.
        store: Their samples.
        sample_rate: Of the store.
        advance: Told how many of how many are done.

    Returns:
        (clips, size); None if the teacher gives no embedding.
    """
    rows = []
    for number, clip in enumerate(clips, start=1):
        waveform = teacher.waveform(store.read(clip.path), sample_rate)
        missing = _SHORTEST_SECONDS * teacher.sample_rate - len(waveform)
        opinion = teacher.hear(np.pad(waveform, (0, max(0, missing))))
        if opinion.embedding is None:
            return None
        rows.append(opinion.embedding[0])
        advance(number, len(clips))
    return np.stack(rows)


def embedding_accuracy(
    embedding: Array, clips: Sequence[Clip], folds: Sequence[int]
) -> dict[str, float]:
    """Accuracy of a logistic regression on embeddings of clips.

    It is trained on the very clips that a student of the fold is trained on.

    Args:
        embedding: (clips, size).
        clips: With labels.
        folds: Each is tested by a regression that has not heard it.

    Returns:
        By the number of the fold, as text, and `together` over all their clips.
    """
    truth = np.array([clip.label for clip in clips])
    fold_of = np.array([clip.fold for clip in clips])
    right = {}
    for fold in folds:
        heard, new = fold_of != fold, fold_of == fold
        regression = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=_INVERSE_RIDGE, max_iter=_ITERATIONS),
        )
        regression.fit(embedding[heard], truth[heard])
        right[str(fold)] = regression.predict(embedding[new]) == truth[new]
    together = float(np.concatenate(list(right.values())).mean())
    return {
        **{fold: float(own.mean()) for fold, own in right.items()},
        "together": together,
    }
