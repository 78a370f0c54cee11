"""The last week of a place: the embeddings that its monitor has kept."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DAYS = 7


@dataclass(frozen=True, slots=True)
class KeptBlock:
    """Embeddings of windows of one source that follow each other."""

    source: str
    seconds: NDArray[np.float64]
    """(n,), end of each window, seconds since 1970, rising."""

    embeddings: NDArray[np.float32]
    """(n, features)."""


Week = Callable[[], Iterable[KeptBlock]]
"""Reads the blocks of a week, those of a source in order; each call begins anew.

A week of one source has a million windows: they are never in memory together.
"""


def last_week(database: Path | None, model: str) -> Week | None:
    """Return the embeddings of the last week that a database has.

    Args:
        database: File of the store; None: there is none.
        model: Name of the model whose embeddings are wanted.

    Returns:
        None: no embeddings were kept.
    """
    # The store keeps no embeddings yet.
    del database, model
    return None
