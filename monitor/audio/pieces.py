"""The pieces of a source's timeline that wait for the worker, and their bound."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from monitor.audio.ring import Ring, Samples
from monitor.records import Gap, SourceState

MOST_PIECES = 1024


@dataclass(slots=True)
class Stretch:
    """Samples [start, stop) that the worker has not taken yet, and where they are."""

    ring: Ring
    start: int
    stop: int


Piece = Stretch | Gap | SourceState


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive samples of one stretch."""

    start: int
    samples: Samples
    """float32, shape (1 or 2, n), n > 0; the reader's own copy."""

    @property
    def stop(self) -> int:
        """Absolute index after the newest sample."""
        return self.start + int(self.samples.shape[1])


class LossCount:
    """Counts what was lost; a gap that goes on in the next one is counted once."""

    def __init__(self) -> None:
        self.samples = 0
        self.gaps = 0
        self._last: Gap | None = None

    def add(self, taken: Iterable[Block | Gap | SourceState]) -> None:
        """Count the gaps among what was taken, which follows what was before."""
        for gap in taken:
            if not isinstance(gap, Gap):
                continue
            self.samples += gap.stop - gap.start
            last = self._last
            if last is None or (last.stop, last.reason) != (gap.start, gap.reason):
                self.gaps += 1
            self._last = gap


def append_gap(pieces: list[Any], gap: Gap) -> None:
    """Append `gap`, or make the gap before it longer if it has the same reason."""
    last = pieces[-1] if pieces else None
    if isinstance(last, Gap) and last.reason == gap.reason:
        pieces[-1] = replace(last, stop=gap.stop)
    else:
        pieces.append(gap)


def bounded(pieces: list[Piece], source: str) -> list[Piece]:
    """Give up the older half of too many pieces: it is lost to an overrun.

    Only a source that breaks many times a second, and a worker that hangs, get here.
    Of the states in that half the newest remains.
    """
    if len(pieces) <= MOST_PIECES:
        return pieces
    half = len(pieces) // 2
    old = pieces[:half]
    states = [piece for piece in old if isinstance(piece, SourceState)]
    spans = [piece for piece in old if not isinstance(piece, SourceState)]
    kept: list[Piece] = [*states[-1:]]
    if spans:
        kept.append(Gap(source, spans[0].start, spans[-1].stop, "overrun"))
    return kept + pieces[half:]
