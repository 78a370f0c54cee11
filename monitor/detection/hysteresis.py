"""The state machine of one label: from scored windows to events.

It knows scores and spans, neither audio nor records.
"""

from collections import deque
from typing import NamedTuple

from monitor.detection.event_bounds import EventBounds, LabelWindow
from monitor.detection.rules import LabelRule
from monitor.records import HeldBack


class MovingAverage:
    """Mean of the newest scores; of those there are while there are fewer.

    So a recording that holds a single window can still yield an event.
    """

    def __init__(self, hops: int) -> None:
        self._scores: deque[float] = deque(maxlen=hops)

    def push(self, score: float) -> float:
        """Take the next score; return the mean."""
        self._scores.append(score)
        # Summed anew each time: a running sum would carry a rounding error for days.
        return sum(self._scores) / len(self._scores)

    def silence(self) -> None:
        """Replace the scores so far by zeros: their sound is over."""
        self._scores = deque([0.0] * len(self._scores), self._scores.maxlen)

    def restart(self) -> None:
        """Forget the scores so far: the next ones have nothing to do with them."""
        self._scores.clear()


class Change(NamedTuple):
    """The changes made by a window; both may hold the same event."""

    begun: EventBounds | None
    """An event that this window made known."""

    ended: EventBounds | None
    """An event that was known and is now over."""


class Horizon(NamedTuple):
    """The bound for the next event of a label, set by the one before."""

    floor: int = 0
    """Earliest start of the next event, a sample index."""

    old_until: int = -1
    """Activity up to this sample is no sign of a new event."""

    sounded_until: int = -1
    """End of the event before."""


class Hysteresis:
    """Decides when a label begins and when it ends.

    An event begins when the averaged score reaches the onset threshold; its first
    window is the first of those averaged that is at or above the offset threshold.
    While it lasts, a window counts if both its score and the average are at or above
    the offset threshold.  It is reported once its sound has lasted `min_duration_on`.

    It ends when the last active moment lies `min_duration_off` back: so about a second
    after the sound, not four, when the last window that holds it has passed.  The sound
    still in the windows then is old: a window counts for a later event only if it is
    active after the moment up to which its activity would have prolonged this one, and
    after the refractory time.
    """

    def __init__(self, rule: LabelRule, horizon: Horizon | None = None) -> None:
        self.horizon = horizon or Horizon()
        self._rule = rule
        self._scores = MovingAverage(rule.smoothing_hops)
        self._rivals = MovingAverage(rule.smoothing_hops)
        self._averaged: deque[LabelWindow | None] = deque(maxlen=rule.smoothing_hops)
        self.event: EventBounds | None = None
        """The ongoing event, reported or not."""

        self._newest: tuple[LabelWindow, float, float] | None = None
        """The newest window, and the averages of its score and of its rival."""

    def push(self, window: LabelWindow) -> Change:
        """Take the next window, at least a sample later than the one before."""
        rule = self._rule
        old = window.active_stop <= self.horizon.old_until
        # Neither silence nor an old sound may help a new one over the threshold.
        score = 0.0 if old or window.gated else window.score
        average = self._scores.push(score)
        rival = self._rivals.push(0.0 if window.gated else window.rival)
        self._newest = window, average, rival
        counts = score >= rule.offset_threshold
        self._averaged.append(window if counts else None)
        if self.event is not None:
            if counts and average >= rule.offset_threshold:
                self.event.add(window)
        elif not window.gated and self._may_begin(average, rival):
            windows = [one for one in self._averaged if one]
            self.event = EventBounds(windows, self.horizon.floor)
        return Change(self._report(), self._end(window))

    def stop(self, *, goes_on: bool = False) -> EventBounds | None:
        """End the ongoing event: the next window has nothing to do with it.

        Args:
            goes_on: Another state machine takes the next window.  The sound may go on
                there at once, and an event not reported yet is reported there.

        Returns:
            The event, if it was reported.
        """
        event, before = self.event, self.horizon
        if event is not None:
            self._close(event)
            if goes_on:
                self.horizon = before
            if goes_on and event.onset_start is not None:
                floor = max(event.stop, event.onset_start + 1)
                old_until = event.stop + self._rule.min_duration_off
                self.horizon = Horizon(floor, old_until, event.stop)
        self._averaged.clear()
        self._scores.restart()
        self._rivals.restart()
        self._newest = None
        return event if event is not None and event.onset_start is not None else None

    def held_back(self) -> HeldBack | None:
        """Return why no event is reported at the newest window; None: one is.

        If several reasons hold, the one that would remain if the others did not.
        """
        if self.event is not None:
            return "duration" if self.event.onset_start is None else None
        if self._newest is None:
            return "threshold"
        window, average, rival = self._newest
        horizon, threshold = self.horizon, self._rule.onset_threshold
        if window.gated:
            return "gate"
        if window.active_stop <= horizon.old_until and window.score >= threshold:
            within = horizon.sounded_until < window.active_stop <= horizon.floor
            return "refractory" if within else "old"
        if average >= threshold and not self._may_begin(average, rival):
            return "rival"
        return "threshold" if window.score < threshold else "smoothing"

    def _may_begin(self, average: float, rival: float) -> bool:
        margin = self._rule.margin
        clear = margin == 0 or average - rival >= margin
        return clear and average >= self._rule.onset_threshold

    def _report(self) -> EventBounds | None:
        event = self.event
        if event is None or event.onset_start is not None:
            return None
        if event.stop - event.start < self._rule.min_duration_on:
            return None
        event.onset_start = event.start
        return event

    def _end(self, window: LabelWindow) -> EventBounds | None:
        event = self.event
        if event is None or window.stop - event.stop < self._rule.min_duration_off:
            return None
        # Silence in the newest hop alone is not a lull yet: the end of a span is a
        # column or two off, and the network is least sure of the newest hop.
        alone = window.seen_until <= window.start
        if event.stop > (window.stop - 1 if alone else window.seen_until):
            return None
        self._close(event)
        return event if event.onset_start is not None else None

    def _close(self, event: EventBounds) -> None:
        rule = self._rule
        self.event = None
        floor = event.stop
        if event.onset_start is not None:
            # The onset may have been reported too late: its place is taken all the
            # same.
            floor = max(event.stop + rule.refractory, event.onset_start + 1)
        old_until = max(floor, event.stop + rule.min_duration_off)
        self.horizon = Horizon(floor, old_until, event.stop)
        self._scores.silence()
        self._averaged.clear()
