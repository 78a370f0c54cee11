"""A clock that only a test moves, and a wait on the real one with a deadline."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

DEADLINE_SECONDS = 60.0
"""Long, for busy machines; a wait ends as soon as its condition holds."""


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    def utc(self) -> datetime:
        return self.wall

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += timedelta(seconds=seconds)


def wait_until(condition: Callable[[], object], message: str = "") -> None:
    deadline = monotonic() + DEADLINE_SECONDS
    while not condition():
        assert monotonic() < deadline, message
        sleep(0.01)
