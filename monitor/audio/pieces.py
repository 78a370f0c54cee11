"""The pieces of a source's timeline that wait for the worker, and their bound."""

from dataclasses import dataclass, replace
from typing import Any

from monitor.audio.ring import Ring
from monitor.records import Gap, SourceState

MOST_PIECES = 1024


@dataclass(slots=True)
class Stretch:
    """Samples [start, stop) that the worker has not taken yet, and where they are."""

    ring: Ring
    start: int
    stop: int


Piece = Stretch | Gap | SourceState


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
