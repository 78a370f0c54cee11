"""The loudness of an event."""

import math
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from monitor.records import ScoreFrame


@dataclass(frozen=True, slots=True)
class Hop:
    """The levels of the samples [start, stop)."""

    start: int
    stop: int
    level_dbfs: float
    laeq_db: float
    window: ScoreFrame
    """The window that ends with this hop."""


def newest_hop(frame: ScoreFrame, seen_until: int) -> Hop:
    """The hop that a window adds to the samples seen before.

    Args:
        frame: The window.
        seen_until: End of the window before.  If this one starts there, there was none:
            the hop is the whole window, with the level of its loudest hop and the LAeq
            of its newest, for no more is known.
    """
    alone = seen_until <= frame.start
    level_dbfs = frame.peak_level_dbfs if alone else frame.level_dbfs
    return Hop(seen_until, frame.stop, level_dbfs, frame.laeq_db, frame)


@dataclass
class _LevelSum:
    peak_dbfs: float = -math.inf
    lafmax_db: float | None = None
    offset_db: float | None = None
    energy: float = 0.0
    hops: int = 0

    def add(self, hop: Hop) -> None:
        self.peak_dbfs = max(self.peak_dbfs, hop.level_dbfs)
        self.energy += 10 ** (hop.laeq_db / 10)
        self.hops += 1
        if (levels := hop.window.hop_levels) is not None:
            highest = (self.lafmax_db, levels.lafmax_db)
            self.lafmax_db = max(it for it in highest if it is not None)
            self.offset_db = levels.offset_db

    @property
    def laeq_db(self) -> float:
        return 10 * math.log10(max(self.energy / self.hops, sys.float_info.min))


class EventLevel:
    """The levels of the hops of an ongoing event.

    Keeps the hops that the event's bounds may still cross, and sums up those before.
    """

    def __init__(self, hops: Iterable[Hop]) -> None:
        """Begin with the hops so far, in order, from before the event's start."""
        self._hops = deque(hops)
        self._settled = _LevelSum()

    def add(self, hop: Hop) -> None:
        """Take the next hop."""
        self._hops.append(hop)

    def settle(self, start: int, before: int) -> None:
        """Sum up the hops that end by `before`, but for those before the `start`."""
        while self._hops and self._hops[0].stop <= before:
            hop = self._hops.popleft()
            if hop.stop > start:
                self._settled.add(hop)

    def measure(
        self, start: int, stop: int
    ) -> tuple[float, float, float | None, float | None]:
        """Loudest level, mean energy of the LAeq, LAFmax, offset, over [start, stop).

        Each hop with a sample in [start, stop) counts as a whole.  Where there is none,
        since the hops before a reload are not known, the first one after it counts.

        Returns:
            dBFS, dB(A) twice, and the `level_offset_db` that is in those, the newest;
            the last two are None where no hop has them.
        """
        levels = replace(self._settled)
        for hop in self._hops:
            if hop.stop > start and hop.start < stop:
                levels.add(hop)
        if not levels.hops and self._hops:
            levels.add(self._hops[0])
        return (
            levels.peak_dbfs,
            levels.laeq_db,
            levels.lafmax_db,
            levels.offset_db,
        )
