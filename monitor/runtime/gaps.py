"""Short losses of a source that are close together, joined to one gap."""

from collections.abc import Iterable
from dataclasses import replace

from monitor.records import Gap, GapReason

LONGEST_GAP_SECONDS = 30.0
OVER_SECONDS = 5.0
"""A gap ends when nothing was lost for so long."""

SHORT_SECONDS = 1.0
"""A loss that is longer is reported at once, by itself."""

_JOINED: frozenset[GapReason] = frozenset({"overload", "overrun", "stalled", "invalid"})
"""Losses that come again and again while a source stays open."""


class JoinedGaps:
    """Joins short losses to few gaps, by source and reason.  Used by one thread.

    A record for each of them, up to thousands a second, would fill a disk.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begin with nothing lost."""
        self._longest = round(LONGEST_GAP_SECONDS * sample_rate)
        self._over = round(OVER_SECONDS * sample_rate)
        self._short = round(SHORT_SECONDS * sample_rate)
        self._open: dict[tuple[str, GapReason], Gap] = {}

    def add(self, gap: Gap) -> list[Gap]:
        """Take a loss, all of its samples; return the gaps to be reported at once."""
        count = gap.stop - gap.start
        if gap.reason not in _JOINED or (
            gap.reason != "overload" and count >= self._short
        ):
            return [*self.take(gap.source), gap]
        key = gap.source, gap.reason
        known = self._open.get(key, gap)
        left_out = (known.left_out or 0) + count
        self._open[key] = replace(gap, start=known.start, left_out=left_out)
        return []

    def complete(self, source: str, taken: int) -> list[Gap]:
        """Return the gaps of a source, analysed up to `taken`, that are over."""
        return self._pop(
            key
            for key, gap in self._open.items()
            if key[0] == source
            and (
                taken - gap.stop >= self._over or gap.stop - gap.start >= self._longest
            )
        )

    def take(self, source: str) -> list[Gap]:
        """Return all gaps of a source, and begin anew."""
        return self._pop(key for key in self._open if key[0] == source)

    def _pop(self, keys: Iterable[tuple[str, GapReason]]) -> list[Gap]:
        found = sorted(
            (self._open.pop(key) for key in [*keys]), key=lambda it: it.start
        )
        return [
            replace(gap, left_out=None)
            if gap.reason != "overload" and gap.left_out == gap.stop - gap.start
            else gap
            for gap in found
        ]
