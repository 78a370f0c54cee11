"""The noise floor of a source, and whether it fell: a covered or muffled microphone."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

MINUTE_SECONDS = 60
LEAST_LEVELS = 20
"""A minute with fewer levels, because sound was lost, says nothing."""

FLOOR_SHARE = 0.1
"""The floor of a minute: the level below which a tenth of its hops lie."""

RECENT_MINUTES = 10
"""The floor has fallen, or is back, once all of these minutes say so."""

DAY_MINUTES = 1440
LEARNED_MINUTES = 120
"""Before it knows so many it says nothing, and so long a fall is learned as normal."""

QUIET_SHARE = 0.05
"""The quietest hours of a day: 72 minutes are quieter."""

AWAY_MINUTES = 10
"""After so long a gap it begins anew: it may be another microphone, or place."""


@dataclass(frozen=True, slots=True)
class Change:
    """The floor fell, or is over it."""

    state: Literal["fell", "back", "forgotten"]
    start: int
    """Sample at which the fall began."""

    stop: int
    """Sample at which this is known; of "back", at which the fall ended."""

    fall_db: float
    """How far below the quietest hours, at least."""


class NoiseFloor:
    """Compares the floor of the latest minutes with the quietest hours of a day.

    Evenings and nights are learned as they come, and are no fall: the level must go,
    in less time than the quietest hours take to follow, below all of them, and stay
    there.  What came back by itself after hours was the place, and is normal for a day;
    what came back sooner was a hand.  A number a minute is kept.  Not thread-safe.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begin with nothing known."""
        self._minute_samples = MINUTE_SECONDS * sample_rate
        self._minute = 0
        self._levels: list[float] = []
        self._history: deque[float] = deque(maxlen=DAY_MINUTES)
        self._recent: deque[float] = deque(maxlen=RECENT_MINUTES)
        self._fallen: deque[float] | None = None
        """The floors since it fell; None: it has not fallen."""

        self._began = 0

    def push(self, stop: int, level_db: float, fall_db: float) -> Change | None:
        """Take the level of the hop that ends at sample `stop`, in order.

        So far below the quietest hours as `fall_db` is a fall.
        """
        minute = (stop - 1) // self._minute_samples
        change = None
        if minute != self._minute:
            change = self._close_minute(fall_db)
            if minute - self._minute > AWAY_MINUTES:
                change = self._forget() or change
            self._minute = minute
        self._levels.append(level_db)
        return change

    def _close_minute(self, fall_db: float) -> Change | None:
        levels, self._levels = sorted(self._levels), []
        if len(levels) < LEAST_LEVELS:
            return None
        if len(self._recent) == RECENT_MINUTES:
            known = self._history if self._fallen is None else self._fallen
            known.append(self._recent[0])
        self._recent.append(levels[int(FLOOR_SHARE * len(levels))])
        if len(self._recent) < RECENT_MINUTES or len(self._history) < LEARNED_MINUTES:
            return None
        return self._compare(_quietest(self._history), fall_db)

    def _compare(self, quietest_db: float, fall_db: float) -> Change | None:
        span = RECENT_MINUTES * self._minute_samples
        stop = (self._minute + 1) * self._minute_samples
        if self._fallen is None:
            below_db = quietest_db - max(self._recent)
            if below_db < fall_db:
                return None
            self._fallen = deque(maxlen=DAY_MINUTES)
            self._began = max(0, stop - span)
            return Change("fell", self._began, stop, below_db)
        # Half of the fall must be made up for: it does not hover at the edge.
        if min(self._recent) <= quietest_db - fall_db / 2:
            return None
        if len(self._fallen) >= LEARNED_MINUTES:
            self._history.extend(self._fallen)
        self._fallen = None
        return Change("back", self._began, max(self._began, stop - span), 0.0)

    def _forget(self) -> Change | None:
        """Begin anew, after a long gap."""
        was_fallen, self._fallen = self._fallen is not None, None
        self._history.clear()
        self._recent.clear()
        if not was_fallen:
            return None
        stop = (self._minute + 1) * self._minute_samples
        return Change("forgotten", self._began, stop, 0.0)


def _quietest(floors: deque[float]) -> float:
    ordered = sorted(floors)
    return ordered[int(QUIET_SHARE * len(ordered))]
