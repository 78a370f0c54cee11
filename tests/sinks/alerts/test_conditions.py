"""Quiet times are one interval each, also when the clock is changed."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.config.alerts import QuietSettings
from monitor.sinks.alerts.conditions import find_zone, is_quiet

BERLIN = ZoneInfo("Europe/Berlin")


def quiet(begin: str, end: str, **settings: Any) -> QuietSettings:
    return QuietSettings.model_validate({"begin": begin, "end": end, **settings})


def quiet_intervals(
    settings: QuietSettings, first: datetime, hours: float, zone: Any = BERLIN
) -> list[tuple[str, str]]:
    """The quiet intervals from `first` on, as UTC, found minute by minute."""
    intervals: list[list[str]] = []
    was_quiet = False
    for minute in range(round(hours * 60)):
        moment = first + timedelta(minutes=minute)
        now_quiet = is_quiet([settings], zone, moment)
        if now_quiet and not was_quiet:
            intervals.append([f"{moment:%d %H:%M}", ""])
        if was_quiet and not now_quiet:
            intervals[-1][1] = f"{moment:%d %H:%M}"
        was_quiet = now_quiet
    return [(begin, end) for begin, end in intervals]


@pytest.mark.parametrize(
    ("begin", "end", "intervals"),
    [
        ("08:00", "17:30", [("10 07:00", "10 16:30")]),
        ("22:00", "07:00", [("10 21:00", "11 06:00")]),
        ("00:00", "24:00", [("09 23:00", "10 23:00")]),
        ("22:00", "24:00", [("10 21:00", "10 23:00")]),
    ],
)
def test_an_ordinary_day(
    begin: str, end: str, intervals: list[tuple[str, str]]
) -> None:
    # 10 March 2026 is a Tuesday, and Berlin is an hour ahead.
    settings = quiet(begin, end, weekdays=["tue"])
    first = datetime(2026, 3, 9, 12, tzinfo=UTC)
    assert quiet_intervals(settings, first, 48) == intervals


@pytest.mark.parametrize(
    ("begin", "end", "intervals"),
    [
        # At 01:00 UTC the clock goes from 02:00 to 03:00.
        ("22:00", "07:00", [("28 21:00", "29 05:00")]),
        ("01:30", "03:30", [("29 00:30", "29 01:30")]),
        ("02:30", "06:00", [("29 01:00", "29 04:00")]),  # begins at the change
        ("00:30", "02:30", [("28 23:30", "29 01:00")]),  # ends at the change
        ("02:10", "02:50", []),  # is left out
    ],
)
def test_the_night_in_which_an_hour_is_left_out(
    begin: str, end: str, intervals: list[tuple[str, str]]
) -> None:
    first = datetime(2026, 3, 28, 14, tzinfo=UTC)
    assert quiet_intervals(quiet(begin, end), first, 20) == intervals


@pytest.mark.parametrize(
    ("begin", "end", "intervals"),
    [
        # At 01:00 UTC the clock goes from 03:00 back to 02:00.
        ("22:00", "07:00", [("24 20:00", "25 06:00")]),
        ("22:00", "02:30", [("24 20:00", "25 01:30")]),  # until its second 02:30
        ("02:30", "06:00", [("25 00:30", "25 05:00")]),  # from its first 02:30
        ("02:10", "02:50", [("25 00:10", "25 01:50")]),
    ],
)
def test_the_night_in_which_an_hour_comes_twice(
    begin: str, end: str, intervals: list[tuple[str, str]]
) -> None:
    first = datetime(2026, 10, 24, 14, tzinfo=UTC)
    assert quiet_intervals(quiet(begin, end), first, 20) == intervals


def test_a_weekday_is_that_on_which_the_quiet_time_begins() -> None:
    settings = quiet("22:00", "07:00", weekdays=["fri"])
    first = datetime(2026, 11, 23, tzinfo=UTC)  # a Monday
    assert quiet_intervals(settings, first, 7 * 24) == [("27 21:00", "28 06:00")]


def test_the_zone_of_the_machine_knows_its_clock_changes(tmp_path: Path) -> None:
    localtime = tmp_path / "localtime"
    berlin = files("tzdata") / "zoneinfo" / "Europe" / "Berlin"
    localtime.write_bytes(berlin.read_bytes())
    zone = find_zone(None, localtime)
    offsets = {
        datetime(2026, month, 1, tzinfo=UTC).astimezone(zone).utcoffset()
        for month in (1, 7)
    }
    assert offsets == {timedelta(hours=1), timedelta(hours=2)}
    assert find_zone(None, tmp_path / "nothing") is UTC
