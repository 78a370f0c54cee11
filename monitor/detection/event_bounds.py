"""The bounds of one event: begin and end of the sound in its windows.

Each window states from which moment to which the network was active for the label.
A single window is easily wrong: one that holds little of the sound, or holds it at its
edge, is noisy.  But a moment is covered by about seven windows.  So they vote: of the
event's windows that cover a moment, half must call it active.

A window that starts within the sound covers nothing before, and has no vote on where
the sound began; one that stops within it has none on where it ended.  So a window which
a lasting sound fills from edge to edge moves neither bound.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from monitor.records import ScoreFrame


class LabelWindow(NamedTuple):
    """One window as seen by one label."""

    frame: ScoreFrame
    score: float
    """Score of this label, in [0, 1]."""

    rival: float
    """The highest score of any other label; 0 if there is none."""

    active_start: int
    active_stop: int
    """The part of the window that carries the label's score."""

    seen_until: int
    """End of the window before; start of this one if there is none."""

    gated: bool
    """The window lies below the level gate."""

    @property
    def start(self) -> int:
        """First sample of the window."""
        return self.frame.start

    @property
    def stop(self) -> int:
        """Sample after the window."""
        return self.frame.stop


def first_active(windows: Iterable[LabelWindow], earliest: int) -> int:
    """The first moment from which half of the windows that cover it are active.

    Args:
        windows: At least one; the first starts at or before `earliest`.
        earliest: Moments before are not considered.
    """
    starts = [(window.start, max(window.active_start, earliest)) for window in windows]
    for moment in sorted(active_start for _, active_start in starts):
        votes = [
            active_start <= moment for start, active_start in starts if start <= moment
        ]
        if 2 * sum(votes) >= len(votes):
            return moment
    raise AssertionError("at the latest of the moments all are active")


def last_active(windows: Iterable[LabelWindow]) -> int:
    """The last moment up to which half of the windows that cover it are active."""
    stops = [(window.stop, window.active_stop) for window in windows]
    for moment in sorted((active_stop for _, active_stop in stops), reverse=True):
        votes = [active_stop >= moment for stop, active_stop in stops if stop >= moment]
        if 2 * sum(votes) >= len(votes):
            return moment
    raise AssertionError("at the earliest of the moments all are active")


class EventBounds:
    """The windows that count for one event, and the bounds that they vote for.

    `start` and `stop` are estimates that may move with each window.
    """

    def __init__(self, windows: Sequence[LabelWindow], floor: int) -> None:
        """Begin with the windows that led to the event.

        Args:
            windows: Those that count, in order, at least one.
            floor: The sound cannot have begun before, whatever the votes.
        """
        first = windows[0]
        self._floor = floor
        self._earliest = max(_earliest_start(first), floor)
        self._latest = max(self._earliest, first.active_stop - 1)
        # Without any vote, the sound began where the newest hop did.
        self.start = min(max(first.seen_until, self._earliest), self._latest)
        self.stop = first.active_stop
        self.onset_start: int | None = None
        """`start` when the onset was reported; None before."""
        self.peak = first
        """The window with the highest score."""
        self._windows = 0
        self._score_sum = 0.0
        self._opening: list[LabelWindow] = []
        self._closing: deque[LabelWindow] = deque()
        for window in windows:
            self.add(window)

    @property
    def mean_score(self) -> float:
        """Mean of the raw scores of the windows that count."""
        return self._score_sum / self._windows

    def add(self, window: LabelWindow) -> None:
        """Take the next window that counts."""
        self._windows += 1
        self._score_sum += window.score
        if window.score > self.peak.score:
            self.peak = window
        self._move_start(window)
        self._move_stop(window)

    def _move_start(self, window: LabelWindow) -> None:
        # A span that reaches back before the floor has an older sound in it, and
        # cannot show where this one began.
        if window.start <= self._latest and window.active_start >= self._floor:
            self._opening.append(window)
            start = first_active(self._opening, self._earliest)
            self.start = min(start, self._latest)

    def _move_stop(self, window: LabelWindow) -> None:
        self._closing.append(window)
        while self._closing[0].stop <= window.start:
            self._closing.popleft()
        self.stop = max(last_active(self._closing), self.start + 1)


def _earliest_start(first: LabelWindow) -> int:
    """Earliest start of a sound for which the window `first` is the first to count.

    The window before covered all but the newest hop, and did not count.  The network
    detects a sound that fills half of a window: so it cannot have begun more than half
    a window before the newest hop.
    """
    bound = first.seen_until - (first.stop - first.start) // 2
    # A sound that was over by then was simply detected late.
    return max(first.start, bound) if first.active_stop > bound else first.start
