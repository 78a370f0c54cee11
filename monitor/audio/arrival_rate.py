"""The rate at which the samples of a live stream arrive, beside the one it states."""

_WINDOW_SECONDS = 4.0
_WINDOWS = 3
_SAME = 0.02
"""Relative difference of windows that agree: held-up samples make them differ."""

_WRONG = 0.05
"""Relative error of a stated rate that is reported; clocks err by far less."""


class ArrivalRate:
    """Measures a stream by the clock.  Used by the capture thread."""

    def __init__(self, sample_rate: int) -> None:
        """Begin a stream that states `sample_rate`."""
        self._stated = sample_rate
        self._began: float | None = None
        self._count = 0  # of the window that has begun
        self._rate = 0.0  # of the latest window
        self._agreeing = 0
        self._all_seconds, self._all_count = 0.0, 0  # of all windows

    def push(self, count: int, now: float) -> int | None:
        """Add `count` samples, delivered or lost, that came at `now`.

        Returns:
            Samples a second, if for some time they have been others than stated.
        """
        if self._began is None:
            self._began = now
            return None
        self._count += count
        seconds = now - self._began
        if seconds < _WINDOW_SECONDS:
            return None
        before, self._rate = self._rate, self._count / seconds
        self._all_seconds += seconds
        self._all_count += self._count
        self._began, self._count = now, 0
        agrees = abs(self._rate - before) <= _SAME * before
        self._agreeing = self._agreeing + 1 if agrees else 1
        usual = self._all_count / self._all_seconds
        is_wrong = all(
            abs(rate - self._stated) > _WRONG * self._stated
            for rate in (self._rate, usual)
        )
        is_known = self._agreeing >= _WINDOWS
        return round(self._rate / 100) * 100 if is_known and is_wrong else None
