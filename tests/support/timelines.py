"""A small timeline of numbered samples, its items, and frequent thread switches."""

import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from monitor.audio.timeline import Block, Item, Timeline
from monitor.records import Gap
from tests.support.signals import numbered

RATE = 10
CAPACITY = 80  # samples
NEWEST = 75  # what a lapped worker goes on with

Tile = tuple[int, int, str]


def make_timeline(channels: int = 1) -> Timeline:
    timeline = Timeline("street", RATE, CAPACITY / RATE)
    timeline.open(channels)
    return timeline


def write(timeline: Timeline, count: int, channels: int = 1) -> None:
    timeline.write(numbered(timeline.stop, count, channels), now=0.0)


def spans(items: Iterable[Item]) -> list[Tile]:
    """Return start, stop and kind of blocks and gaps; check the samples of blocks."""
    found = []
    for item in items:
        if isinstance(item, Block):
            channels, count = item.samples.shape
            expected = numbered(item.start, count, channels)
            np.testing.assert_array_equal(item.samples, expected)
            found.append((item.start, item.stop, f"{channels} channels"))
        elif isinstance(item, Gap):
            found.append((item.start, item.stop, item.reason))
    return found


def assert_tiled(tiles: list[Tile], start: int, stop: int) -> None:
    edges = [start, *itertools.chain.from_iterable(tile[:2] for tile in tiles), stop]
    assert edges[0::2] == edges[1::2], "a hole or an overlap"
    assert all(tile[0] < tile[1] for tile in tiles), "an empty block or gap"


@contextmanager
def frequent_thread_switches(seconds: float = 1e-6) -> Iterator[None]:
    """Have threads interrupt each other where they seldom would."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
