"""The fit of a taught label to its negatives: head, threshold, and alarms in places."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.model.head_fit import (
    Discriminant,
    Head,
    Levels,
    alarm_starts,
    levels_of,
    means_of,
    quiet_deviation,
)
from monitor.model.negatives import Negatives

Array = NDArray[np.float64]

WANTED_ALARMS_PER_HOUR = 0.5
PAUSE_SECONDS = 6.0
"""Windows above the threshold that follow within it are one alarm; the negatives have a
window of a place every five seconds."""

FEWEST_KEPT = 100
"""With fewer windows of the place, their covariance says nothing."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A head and its threshold."""

    discriminant: Discriminant
    head: Head
    levels: Levels


def fit(clips: Sequence[Array], negatives: Negatives, kept: Array | None = None) -> Fit:
    """Fit a head, and choose its threshold.

    Args:
        clips: Embeddings of the windows of each example, (windows, features).
        negatives: Those of the model.
        kept: Embeddings of this place, (n, features); the label may be among them.
    """
    whole = negatives.embeddings.astype(np.float64)
    parts = [whole[~negatives.is_place], whole[negatives.is_place]]
    found = _fit(Discriminant(parts), clips, negatives)
    if kept is None or len(kept) < FEWEST_KEPT:
        return found
    unlike = kept[found.head(kept) < found.levels.threshold]
    if len(unlike) < FEWEST_KEPT:
        return found
    return _fit(Discriminant([*parts, unlike]), clips, negatives)


def _fit(
    discriminant: Discriminant, clips: Sequence[Array], negatives: Negatives
) -> Fit:
    head = discriminant.fit(means_of(clips))
    places = negatives.where(negatives.is_place)
    deviations = head(places.embeddings.astype(np.float64))
    values = PlaceValues(deviations, places.kinds, places.seconds)
    quiet = values.quiet(int(WANTED_ALARMS_PER_HOUR * negatives.hours))
    return Fit(discriminant, head, levels_of(discriminant.leave_one_out(clips), quiet))


def detected_left_out(
    clips: Sequence[Array], negatives: Negatives, fitted: Fit
) -> tuple[bool, ...]:
    """Judge each example by a head and a threshold from all the others.

    The threshold of `fitted` would flatter them: each has helped to choose it.

    Args:
        clips: Three or more; see `fit`.
        negatives: Those of the model.
        fitted: The fit of all clips: what the negatives have in common is taken over.
    """
    found = []
    for index, clip in enumerate(clips):
        others = [*clips[:index], *clips[index + 1 :]]
        alone = _fit(fitted.discriminant, others, negatives)
        found.append(bool(alone.head(clip).max() >= alone.levels.threshold))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class PlaceValues:
    """Deviations of the windows of places, or what they exceed a threshold by."""

    values: Array
    """(n,)."""

    places: NDArray[np.int64]
    seconds: Array

    def alarms(self, threshold: float) -> int:
        """Count the alarms at a threshold."""
        starts = alarm_starts(
            self.values, self.places, self.seconds, threshold, PAUSE_SECONDS
        )
        return len(starts)

    def quiet(self, most_alarms: int) -> float:
        """Return the value that they reach no more often than is wanted."""
        return quiet_deviation(
            self.values, self.places, self.seconds, most_alarms, PAUSE_SECONDS
        )


def unseen_places(
    clips: Sequence[Array], negatives: Negatives, kept: Array | None
) -> PlaceValues:
    """What places exceed the threshold by of a head that has not seen them.

    Each half of them is judged by a head and a threshold from the other half: in places
    that set a threshold there would be no alarms by its definition.
    """
    is_place = negatives.is_place
    values = np.zeros(len(is_place))
    for half in (0, 1):
        judged = is_place & (negatives.kinds % 2 == half)
        fitted = fit(clips, negatives.where(~judged), kept)
        deviations = fitted.head(negatives.embeddings[judged].astype(np.float64))
        values[judged] = deviations - fitted.levels.threshold
    places = negatives.where(is_place)
    return PlaceValues(values[is_place], places.kinds, places.seconds)
