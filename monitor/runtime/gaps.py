"""Gaps of the sources: losses of an outage, and short ones, joined to one record."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from monitor.records import Gap, GapReason, ScoreFrame

OUTAGE_PART_SECONDS = 600.0
"""An outage that lasts longer is reported in parts."""

NEAR_SECONDS = 30.0
"""Sound between two gaps that is shorter: what no window covers of it counts."""

SHORT_LOSSES_SECONDS = 30.0
"""Short losses are one gap for so long at most."""

QUIET_SECONDS = 5.0
"""That gap is over when nothing was lost for so long."""

SHORT_SECONDS = 1.0
"""A loss that is longer is reported at once, by itself; not so that of an overload."""

_JOINED: frozenset[GapReason] = frozenset({"overload", "overrun", "stalled", "invalid"})
"""Losses that come again and again while a source stays open."""


class ShortLosses:
    """Joins short losses to few gaps, by source and reason.  Used by one thread.

    A record for each of them, up to thousands a second, would fill a disk.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begin with nothing lost."""
        self._longest = round(SHORT_LOSSES_SECONDS * sample_rate)
        self._quiet = round(QUIET_SECONDS * sample_rate)
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
                taken - gap.stop >= self._quiet or gap.stop - gap.start >= self._longest
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


class Outages:
    """Joins losses between which no window is whole.  Used by the worker's thread.

    So an outage is one gap whatever its parts.  A gap soon after another one reaches
    from the end of the last window before it to the begin of the next: in sound that
    is lost again and again, those parts are as long as the losses.  A loss inside a
    window, which was bridged, is a gap of its own.
    """

    def __init__(self, source: str, sample_rate: int, start: int) -> None:
        """Begin at sample `start`, with nothing lost."""
        self._source = source
        self._longest = round(OUTAGE_PART_SECONDS * sample_rate)
        self._near = round(NEAR_SECONDS * sample_rate)
        self._seen_until = start
        """End of the latest window, or of the gap that was reported since."""

        self._latest_stop = start - self._near - 1
        """End of the latest gap."""

        self._losses: list[Gap] = []
        """Losses since the latest window."""

    @property
    def is_open(self) -> bool:
        """True if samples were lost since the latest window."""
        return bool(self._losses)

    @property
    def unreported(self) -> int:
        """Samples of the gap so far."""
        return self._losses[-1].stop - self._start if self._losses else 0

    def lose(self, loss: Gap, contiguous_start: int) -> list[Gap]:
        """Take a loss that follows what was taken before; return what is due.

        If it lies behind `contiguous_start`, the windows go on over it.
        """
        if loss.start >= contiguous_start and not self._losses:
            self._seen_until = loss.stop
            return [loss]
        self._losses.append(loss)
        return self.take() if self.unreported >= self._longest else []

    def cover(self, window: ScoreFrame) -> list[Gap]:
        """Take a scored window; return the gaps before its end."""
        bridged = [loss for loss in self._losses if loss.start >= window.start]
        self._losses = self._losses[: len(self._losses) - len(bridged)]
        found: list[Gap] = []
        if self._losses:
            stop = window.start if self._is_near else self._losses[-1].stop
            found = self._take_until(min(stop, window.start))
        self._losses = []
        self._seen_until = max(self._seen_until, window.stop)
        return found + bridged

    def take(self) -> list[Gap]:
        """Return the gap so far; what is lost next continues it."""
        return self._take_until(self._losses[-1].stop) if self._losses else []

    @property
    def _is_near(self) -> bool:
        return self._losses[0].start - self._latest_stop <= self._near

    @property
    def _start(self) -> int:
        first = self._losses[0].start
        return self._seen_until if self._is_near else max(first, self._seen_until)

    def _take_until(self, stop: int) -> list[Gap]:
        start = self._start
        if start >= stop:
            return []
        gap = Gap(self._source, start, stop, _reason(self._losses))
        self._losses, self._seen_until, self._latest_stop = [gap], stop, stop
        return [gap]


def _reason(losses: list[Gap]) -> GapReason:
    """Return the reason of most of the lost samples, or that more lies between."""
    lost: Counter[GapReason] = Counter()
    for loss in losses:
        lost[loss.reason] += loss.stop - loss.start
    between = losses[-1].stop - losses[0].start - lost.total()
    return "fragmented" if between > lost.total() else lost.most_common(1)[0][0]
