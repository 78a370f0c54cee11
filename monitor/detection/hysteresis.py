"""The state machine of one label: from windows to the runs that are events.

It knows scores and spans, neither audio nor records.

The moving average of a label's scores.
"""

from collections import deque
from typing import NamedTuple

from monitor.detection.event_bounds import LabelWindow, Run
from monitor.detection.rules import LabelRule


class MovingAverage:
    """Mean of the newest scores; of what there is while there are fewer.

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
        """Take the scores so far for zeros: what they told of is over."""
        for index in range(len(self._scores)):
            self._scores[index] = 0.0

    def restart(self) -> None:
        """Forget the scores so far: the next ones have nothing to do with them."""
        self._scores.clear()


class Step(NamedTuple):
    """What a window changed; both may hold the same run."""

    told: Run | None
    """A run that is an event, known since this window."""

    ended: Run | None
    """A run that was told and is now over."""


class Horizon(NamedTuple):
    """Where the runs of a label may begin, after the run before."""

    floor: int = 0
    """No run starts before this sample."""

    old_until: int = -1
    """Activity up to this sample is no sign of a new run."""


class Hysteresis:
    """Tells when a label begins and when it ends.

    A run begins when the averaged score reaches the onset threshold, and then counts
    from the first of the averaged windows that is at or above the offset threshold.
    While it lasts, a window counts if both its score and the average are at or above
    the offset threshold.  A run is told once its sound has lasted `min_duration_on`.

    It ends when the last active moment lies `min_duration_off` back: so about a second
    after the sound, not four, when the last window that holds it has passed.  What is
    still in the windows then is old: a window counts for a later run only if it is
    active after the moment up to which its activity would have prolonged this one, and
    after the refractory time.
    """

    def __init__(self, rule: LabelRule, horizon: Horizon | None = None) -> None:
        self.horizon = horizon or Horizon()
        """Where the next run may begin."""

        self._rule = rule
        self._scores = MovingAverage(rule.smoothing_hops)
        self._rivals = MovingAverage(rule.smoothing_hops)
        self._averaged: deque[LabelWindow | None] = deque(maxlen=rule.smoothing_hops)
        self._run: Run | None = None

    @property
    def run(self) -> Run | None:
        """The run that is going on, told or not."""
        return self._run

    def push(self, window: LabelWindow) -> Step:
        """Take the next window, at least a sample later than the one before."""
        rule = self._rule
        old = window.active_stop <= self.horizon.old_until
        # Neither silence nor an old sound may help a new one over the threshold.
        score = 0.0 if old or window.gated else window.score
        average, rival = self._scores.push(score), self._rivals.push(window.rival)
        counts = score >= rule.offset_threshold
        self._averaged.append(window if counts else None)
        if self._run is not None:
            if counts and average >= rule.offset_threshold:
                self._run.add(window)
        elif not window.gated and self._may_begin(average, rival):
            self._run = Run([one for one in self._averaged if one], self.horizon.floor)
        return Step(self._tell(), self._end(window))

    def stop(self, *, goes_on: bool = False) -> Run | None:
        """End the run that is going on: the next window has nothing to do with it.

        Args:
            goes_on: Another state machine takes the next window.  The sound of the run
                may go on there at once, and one that was not told yet is told there.

        Returns:
            The run, if it was told.
        """
        run, before = self._run, self.horizon
        if run is not None:
            self._close(run)
            if goes_on and run.onset_start is None:
                self.horizon = before
            elif goes_on and run.onset_start is not None:
                floor = max(run.stop, run.onset_start + 1)
                self.horizon = Horizon(floor, run.stop + self._rule.min_duration_off)
        self._averaged.clear()
        self._scores.restart()
        self._rivals.restart()
        return run if run is not None and run.onset_start is not None else None

    def _may_begin(self, average: float, rival: float) -> bool:
        margin = self._rule.margin
        clear = margin == 0 or average - rival >= margin
        return clear and average >= self._rule.onset_threshold

    def _tell(self) -> Run | None:
        run = self._run
        if run is None or run.onset_start is not None:
            return None
        if run.stop - run.start < self._rule.min_duration_on:
            return None
        run.onset_start = run.start
        return run

    def _end(self, window: LabelWindow) -> Run | None:
        run = self._run
        if run is None or window.stop - run.stop < self._rule.min_duration_off:
            return None
        # What the newest hop alone shows is not a lull yet: the end of a span is
        # a column or two off, and the newest hop is the one that is heard worst.
        alone = window.seen_until <= window.start
        if run.stop > (window.stop - 1 if alone else window.seen_until):
            return None
        self._close(run)
        return run if run.onset_start is not None else None

    def _close(self, run: Run) -> None:
        rule = self._rule
        self._run = None
        floor = run.stop
        if run.onset_start is not None:
            # The onset may have been told too late: its place is taken all the same.
            floor = max(run.stop + rule.refractory, run.onset_start + 1)
        self.horizon = Horizon(floor, max(floor, run.stop + rule.min_duration_off))
        self._scores.silence()
        self._averaged.clear()
