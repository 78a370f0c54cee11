"""The fit of the head of a taught label: a linear discriminant, from few examples.

The covariance of many other sounds says along which directions embeddings differ
anyway, whatever sounds.  Against it, the mean of the examples points where they differ
from all of these: Fisher's linear discriminant, with the covariance of the negatives
alone, shrunk towards a multiple of the identity.  With a few examples it is a
prototype; nothing else has to change as they become many.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHRINKAGE = 0.2
"""Share of the mean variance that is added to each variance.  From 0.03 to 1 it hardly
matters."""

MARGIN = 1.0
"""Deviations that a threshold lies above the loudest of the quiet places at least: they
are sampled, and a week is longer."""

TOWARDS_EXAMPLES = 2 / 3
"""Where the threshold lies from there to the lower quarter of the examples."""

MOST_ABOVE = 6.0
"""Deviations that it lies above the quiet places at most, besides the margin: examples
from a quiet room are far above what the same sound reaches in a loud one."""

LEAST_THRESHOLD = 2.5
"""Deviations above the mean of the negatives."""

SAME_SOUND = 0.05
"""Two groups of examples whose cosines with each other are lower on average are two
sounds.  So are, in a trial that is not part of the program, nearly all mixtures of two
classes of ESC-50, and an eighth of single classes, some of which are as mixed."""


class Head(NamedTuple):
    """A linear head: the deviations of an embedding from the mean of the negatives."""

    weights: Array
    """(features,)."""

    bias: float

    def __call__(self, embeddings: Array) -> Array:
        """Return the deviations of embeddings, (n, features) -> (n,)."""
        values: Array = embeddings @ self.weights + self.bias
        return values


class Discriminant:
    """What sounds that a label is not have in common.

    Args:
        parts: Embeddings of kinds of negatives, each (n, features), n at least 2.  Each
            kind weighs the same, however many it has.
    """

    def __init__(self, parts: Sequence[Array]) -> None:
        self.mean: Array = np.mean([part.mean(axis=0) for part in parts], axis=0)
        self._covariance: Array = np.mean([_covariance(part) for part in parts], axis=0)
        features = len(self.mean)
        share = SHRINKAGE * np.trace(self._covariance) / features
        shrunk = self._covariance + (share + 1e-12) * np.eye(features)
        self._inverse: Array = np.linalg.inv(shrunk)

    def fit(self, examples: Array) -> Head:
        """Fit a head to examples, (n, features), one for each clip.

        Its deviations have mean 0 and variance 1 over the negatives.
        """
        direction = self._inverse @ (examples.mean(axis=0) - self.mean)
        deviation = np.sqrt(direction @ self._covariance @ direction)
        weights = direction / max(float(deviation), 1e-12)
        return Head(weights, -float(weights @ self.mean))

    def leave_one_out(self, clips: Sequence[Array]) -> Array:
        """Deviations of clips by heads that were fitted to the others, (clips,).

        Args:
            clips: Embeddings of the windows of each, (windows, features); at least two.
                The deviation of a clip is that of its highest window.
        """
        means = means_of(clips)
        found = [
            self.fit(np.delete(means, index, axis=0))(clip).max()
            for index, clip in enumerate(clips)
        ]
        return np.array(found)

    def cosines(self, examples: Array) -> Array:
        """Cosines of the angles between examples, (n, n), as the negatives see them.

        Of unrelated sounds they are about 0.
        """
        centred = examples - self.mean
        products = centred @ self._inverse @ centred.T
        lengths = np.sqrt(np.maximum(np.diag(products), 1e-12))
        cosines: Array = products / np.outer(lengths, lengths)
        return cosines


def means_of(clips: Sequence[Array]) -> Array:
    """Mean embedding of each clip, (clips, features)."""
    return np.array([clip.mean(axis=0) for clip in clips])


def other_sound(cosines: Array) -> tuple[int, ...]:
    """Indices of the examples that are another sound than the most; none: all are one.

    Args:
        cosines: Those of `Discriminant.cosines`, of two examples or more.
    """
    count = len(cosines)
    centring = np.eye(count) - 1 / count
    # The leading eigenvector of the centred matrix divides them in two best.
    _, vectors = np.linalg.eigh(centring @ cosines @ centring)
    is_first = vectors[:, -1] > 0
    between = cosines[np.ix_(is_first, ~is_first)]
    if not between.size or between.mean() >= SAME_SOUND:
        return ()
    if is_first.sum() * 2 > count or (is_first.sum() * 2 == count and is_first[0]):
        is_first = ~is_first
    return tuple(np.flatnonzero(is_first).tolist())


class Levels(NamedTuple):
    """Deviations between which the threshold of a label can move."""

    lowest: float
    """Above what places reach."""

    threshold: float
    highest: float
    """What most examples reach."""

    typical: float
    """Median of the examples."""

    is_supported: bool
    """False: half of the examples do not reach what keeps places quiet, and the
    threshold is theirs."""


def levels_of(left_out: Array, quiet: float) -> Levels:
    """Choose the threshold of a label.

    Args:
        left_out: Deviations of the examples, by `leave_one_out`.
        quiet: Deviation that places reach no more often than is wanted.

    Returns:
        A threshold at which half of the examples at least are detected, unless they are
        like the negatives: it is `LEAST_THRESHOLD` at least.
    """
    typical = float(np.median(left_out))
    most = float(np.quantile(left_out, 0.25))
    lowest = max(quiet + MARGIN, LEAST_THRESHOLD)
    if typical < lowest:
        threshold = max(typical, LEAST_THRESHOLD)
        return Levels(threshold - 1, threshold, threshold + 1, typical, False)
    threshold = lowest + min(TOWARDS_EXAMPLES * max(0.0, most - lowest), MOST_ABOVE)
    return Levels(lowest - 1, threshold, max(most, threshold + 1), typical, True)


def alarm_starts(
    deviations: Array,
    places: NDArray[np.int64],
    seconds: Array,
    threshold: float,
    pause_seconds: float,
) -> NDArray[np.int64]:
    """Indices of the windows with which alarms begin.

    Args:
        deviations: Of windows, (n,), those of a place in order.
        places: Place of each window.
        seconds: Time of each window.
        threshold: Deviation at or above which a window is an alarm.
        pause_seconds: Windows that follow within it belong to the same alarm.
    """
    above = np.flatnonzero(deviations >= threshold)
    if not above.size:
        return above
    is_new = np.ones(len(above), bool)
    same_place = places[above[1:]] == places[above[:-1]]
    is_new[1:] = ~same_place | (np.diff(seconds[above]) > pause_seconds)
    return above[is_new]


def quiet_deviation(
    deviations: Array,
    places: NDArray[np.int64],
    seconds: Array,
    most_alarms: int,
    pause_seconds: float,
) -> float:
    """Deviation that is exceeded by `most_alarms` alarms at most; see `alarm_starts`.

    Above it there are that many; at it may be more.
    """
    highest = np.sort(deviations)[::-1]
    for value in highest[most_alarms:]:
        starts = alarm_starts(deviations, places, seconds, value, pause_seconds)
        if len(starts) > most_alarms:
            return float(value)
    return float(highest[-1])


def _covariance(part: Array) -> Array:
    centred = part - part.mean(axis=0)
    covariance: Array = centred.T @ centred / len(part)
    return covariance
