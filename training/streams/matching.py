"""Which told event stands for which true one: at most one for one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

COLLAR_SECONDS = 1.0
"""How far an onset may lie from the true one; a window of 4 s places it no better."""

OFFSET_SHARE = 0.5
"""An end may lie as far from the true one as this share of the true length, or as the
collar, whichever is more."""

_IMPOSSIBLE = 1e9
"""Costs more than all possible pairs together."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where something sounds, in seconds."""

    onset: float
    offset: float


def match(
    references: Sequence[Stretch], found: Sequence[Stretch], *, offsets: bool = False
) -> list[tuple[int, int]]:
    """Pair as many events as possible; of equally many pairs take the closest onsets.

    Two events can be a pair if their onsets lie within the collar, and with `offsets`
    their ends too.  This is what sed_eval calls optimal matching (Mesaros, Heittola and
    Virtanen, "Metrics for Polyphonic Sound Event Detection", 2016).

    Args:
        references: True events of one label in one stream, in any order.
        found: Events told of that label in that stream.
        offsets: Whether the ends must fit.

    Returns:
        Index of the true event and of the one told.
    """
    pairs: list[tuple[int, int]] = []
    for true, told in _clusters(references, found):
        costs = np.full((len(true), len(told)), _IMPOSSIBLE)
        for row, reference in enumerate(true):
            for column, event in enumerate(told):
                if _fits(references[reference], found[event], offsets):
                    apart = abs(references[reference].onset - found[event].onset)
                    costs[row, column] = apart
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if costs[row, column] < _IMPOSSIBLE:
                pairs.append((true[row], told[column]))
    return pairs


def overlaps(one: Stretch, other: Stretch) -> bool:
    """Whether one sounds while the other does, within the collar."""
    return (
        one.onset <= other.offset + COLLAR_SECONDS
        and one.offset >= other.onset - COLLAR_SECONDS
    )


def _fits(reference: Stretch, event: Stretch, offsets: bool) -> bool:
    if abs(reference.onset - event.onset) > COLLAR_SECONDS:
        return False
    length = reference.offset - reference.onset
    allowed = max(COLLAR_SECONDS, OFFSET_SHARE * length)
    return not offsets or abs(reference.offset - event.offset) <= allowed


def _clusters(
    references: Sequence[Stretch], found: Sequence[Stretch]
) -> Iterator[tuple[list[int], list[int]]]:
    """Divide at pauses that are longer than the collar, so that hours stay cheap."""
    onsets = [(event.onset, 0, index) for index, event in enumerate(references)]
    onsets += [(event.onset, 1, index) for index, event in enumerate(found)]
    cluster: tuple[list[int], list[int]] = ([], [])
    before = -np.inf
    for onset, kind, index in sorted(onsets):
        if onset - before > COLLAR_SECONDS:
            yield cluster
            cluster = ([], [])
        cluster[kind].append(index)
        before = onset
    yield cluster
