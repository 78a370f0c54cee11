"""The wrong clock of the drill steps when it is set, and only its time of day."""

from pathlib import Path

from monitor.clock import SystemClock
from monitor.runtime.drills.clock_drill import WrongClock, set_ahead


def test_only_the_time_of_day_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "ahead"
    set_ahead(path, -3600)
    clock, machine = WrongClock(path), SystemClock()
    assert abs((clock.utc() - machine.utc()).total_seconds() + 3600) < 60
    set_ahead(path, 86_400)
    assert abs((clock.utc() - machine.utc()).total_seconds() - 86_400) < 60
    assert abs(clock.monotonic() - machine.monotonic()) < 60
