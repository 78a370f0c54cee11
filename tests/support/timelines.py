"""A small feed of numbered samples, and what its pieces must add up to."""

import itertools
from collections.abc import Iterable

import numpy as np

from monitor.audio.timeline import Block, Timeline
from monitor.records import Gap, SourceState
from tests.support.signals import numbered

RATE = 10
CAPACITY = 80  # samples
NEWEST = 46  # what a lapped worker goes on with

Piece = Block | Gap | SourceState
Tile = tuple[int, int, str]


def make_feed(channels: int = 1) -> Timeline:
    timeline = Timeline("street", RATE, CAPACITY / RATE)
    timeline.open(channels)
    return timeline


def write(timeline: Timeline, count: int, channels: int = 1) -> None:
    timeline.write(numbered(timeline.stop, count, channels), now=0.0)


def spans(pieces: Iterable[Piece]) -> list[Tile]:
    """Start, stop and kind of blocks and gaps; the samples of blocks are checked."""
    found = []
    for piece in pieces:
        if isinstance(piece, Block):
            channels, count = piece.samples.shape
            expected = numbered(piece.start, count, channels)
            np.testing.assert_array_equal(piece.samples, expected)
            found.append((piece.start, piece.stop, f"{channels} channels"))
        elif isinstance(piece, Gap):
            found.append((piece.start, piece.stop, piece.reason))
    return found


def assert_tiled(tiles: list[Tile], start: int, stop: int) -> None:
    edges = [start, *itertools.chain.from_iterable(tile[:2] for tile in tiles), stop]
    assert edges[0::2] == edges[1::2], "a hole or an overlap"
    assert all(tile[0] < tile[1] for tile in tiles), "an empty block or gap"
