"""The moving average of a label's scores."""

from collections import deque


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

    def change(self, hops: int) -> None:
        """Take the mean of so many from now on."""
        self._scores = deque(self._scores, maxlen=hops)

    def silence(self) -> None:
        """Take the scores so far for zeros: what they told of is over."""
        for index in range(len(self._scores)):
            self._scores[index] = 0.0

    def restart(self) -> None:
        """Forget the scores so far: the next ones have nothing to do with them."""
        self._scores.clear()
