"""Embeddings of windows, stored and read."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from monitor.config.outputs import StoreSettings
from monitor.records import Timed
from monitor.sinks.store.embeddings import Embeddings, read_embeddings
from monitor.sinks.store.queries import open_to_read
from tests.support.store import make_store, score_frames

KEPT = StoreSettings(embeddings=True)


def embedded_frames(
    count: int,
    source: str = "street",
    first: int = 0,
    features: int = 8,
    noise: float = 0.0,
) -> list[Timed]:
    """Score frames with embeddings, whose first feature is the number of the window."""
    generator = np.random.default_rng(first)
    frames = []
    for number, each in enumerate(score_frames(count, source, first), first):
        embedding = np.linspace(number, -0.4, features, dtype=np.float32)
        embedding[1:] += noise * generator.normal(size=features - 1)
        frames.append(replace(each, record=replace(each.record, embedding=embedding)))
    return frames


def without(timed: Timed) -> Timed:
    """The same score frame without its embedding."""
    return replace(timed, record=replace(timed.record, embedding=None))


def store_all(path: Path, frames: list[Timed], run: str = "session") -> None:
    store = make_store(path, settings=KEPT, run=run)
    store.write(frames)
    store.close()


def read(path: Path, *bounds: datetime | None) -> list[Embeddings]:
    with open_to_read(path) as reader:
        return list(read_embeddings(reader, *bounds))


def numbers(found: list[Embeddings]) -> list[int]:
    """The numbers of the windows, which `embedded_frames` wrote into them."""
    return [round(float(value)) for part in found for value in part.values[:, 0]]
