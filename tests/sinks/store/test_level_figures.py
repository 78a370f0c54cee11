"""Figures of days follow ISO 1996-1 and directive 2002/49/EC, or are not given."""

import math
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from monitor.records import Timed
from monitor.sinks.store.level_figures import SpanLevels, day_levels
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.selection import Selection, begin_of, hours_of
from tests.support.levels import level_frame, minutes, store_levels

BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2026, 11, 23)
LATER = datetime(2027, 1, 1, tzinfo=UTC)


def hour_frames(day: date, level_of: dict[int, float], **more: object) -> list[Timed]:
    """Sixty minutes of each hour of the place that has a level."""
    frames = []
    for start, hour in hours_of(day, BERLIN):
        if hour in level_of:
            frames += minutes(start, 60, level_of[hour], **more)
    return frames


def levels(
    path: Path,
    first: date = DAY,
    last: date | None = None,
    now: datetime = LATER,
    **more: bool,
) -> SpanLevels:
    selection = Selection(first, last or first, now, BERLIN)
    with open_to_read(path) as reader:
        return day_levels(reader, selection, **more)["street"]


def by_period(day: float, evening: float, night: float) -> dict[int, float]:
    return {
        hour: day if 7 <= hour < 19 else evening if 19 <= hour < 23 else night
        for hour in range(24)
    }


def test_lden_adds_5_db_to_the_evening_and_10_to_the_night(path: Path) -> None:
    store_levels(path, hour_frames(DAY, by_period(60.0, 55.0, 50.0)))
    found = levels(path)
    assert [
        found.all_days.periods[it].laeq_db for it in ("day", "evening", "night")
    ] == [pytest.approx(level) for level in (60.0, 55.0, 50.0)]
    assert found.all_days.lden_db == pytest.approx(60.0)
    assert found.is_calibrated


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 11, 23), 24)],
)
def test_a_day_on_which_the_clocks_change_has_23_or_25_hours(
    path: Path, day: date, hours: int
) -> None:
    store_levels(path, hour_frames(day, by_period(60.0, 55.0, 50.0)))
    found = levels(path, day)
    assert len(found.hours) == hours
    assert found.all_days.whole.seconds == hours * 3600
    assert found.all_days.whole.coverage == 1.0
    assert found.all_days.periods["night"].seconds == (hours - 16) * 3600
    assert found.all_days.lden_db == pytest.approx(60.0)
    assert hours_of(day, BERLIN)[0][0] == begin_of(day, BERLIN)


def test_hours_of_a_zone_with_a_half_hour_are_those_of_the_middle() -> None:
    hours = hours_of(DAY, ZoneInfo("Asia/Kolkata"))
    assert [hour for _, hour in hours] == list(range(24))


@pytest.mark.parametrize(("measured", "has_figure"), [(44, False), (46, True)])
def test_an_hour_of_which_less_than_three_quarters_were_measured_has_no_figure(
    path: Path, measured: int, has_figure: bool
) -> None:
    start, _ = hours_of(DAY, BERLIN)[9]
    store_levels(path, minutes(start, measured, 60.0))
    (hour,) = [it for it in levels(path).hours if it.hour == 9]
    assert hour.figures.coverage == pytest.approx(measured / 60)
    assert (hour.figures.laeq_db is not None) == has_figure
    assert (hour.figures.lafmax_db is not None) == has_figure


def test_a_night_that_was_not_measured_leaves_no_lden(path: Path) -> None:
    level_of = by_period(60.0, 55.0, 50.0)
    store_levels(path, hour_frames(DAY, {h: level_of[h] for h in range(4, 24)}))
    found = levels(path)
    assert found.all_days.periods["day"].laeq_db == pytest.approx(60.0)
    assert found.all_days.periods["night"].laeq_db is None
    assert found.all_days.lden_db is None


def test_the_hours_to_come_are_not_expected(path: Path) -> None:
    level_of = by_period(60.0, 55.0, 50.0)
    store_levels(path, hour_frames(DAY, {h: level_of[h] for h in range(12)}))
    noon = begin_of(DAY, BERLIN) + timedelta(hours=12)
    found = levels(path, now=noon)
    assert found.all_days.whole.coverage == 1.0
    # But Lday is of all its hours.
    assert found.all_days.periods["day"].laeq_db is None


def test_levels_re_full_scale_do_not_count_where_the_offset_was_set(path: Path) -> None:
    level_of = by_period(60.0, 55.0, 50.0)
    before = {hour: level_of[hour] - 94 for hour in range(6)}
    store_levels(path, hour_frames(DAY, before, offset_db=0.0))
    store_levels(path, hour_frames(DAY, {h: level_of[h] for h in range(6, 24)}))
    found = levels(path)
    assert found.is_calibrated
    assert found.all_days.whole.covered_seconds == 18 * 3600


def test_days_re_full_scale_have_no_figures_among_those_with_the_offset(
    path: Path,
) -> None:
    store_levels(path, hour_frames(DAY, by_period(-34.0, -39.0, -44.0), offset_db=0.0))
    day = DAY + timedelta(days=1)
    store_levels(path, hour_frames(day, by_period(60.0, 55.0, 50.0)))
    found = levels(path, DAY, day)
    assert (found.is_calibrated, found.is_mixed) == (True, True)
    assert [it.lden_db for _, it in found.days] == [None, pytest.approx(60.0)]
    assert not levels(path, DAY).is_calibrated
    assert not levels(path, DAY).is_mixed


def test_third_octaves_of_a_part_of_the_day_are_not_those_of_the_day(
    path: Path,
) -> None:
    nine, _ = hours_of(DAY, BERLIN)[9]
    octaves = {"third_octaves_db": ((50.0, 40.0, 30.0),)}
    store_levels(path, hour_frames(DAY, by_period(60.0, 55.0, 50.0)))
    store_levels(path, minutes(nine + timedelta(hours=1), 10, 60.0, **octaves))
    whole = levels(path).all_days.whole
    assert whole.laeq_db is not None
    assert whole.third_octaves_db is None


@pytest.mark.parametrize(("first", "bands"), [(44, 2), (46, 3)])
def test_third_octaves_of_models_of_two_sample_rates_add_up(
    path: Path, first: int, bands: int
) -> None:
    """One that is measured by the first model alone has to have enough of the time."""
    start, _ = hours_of(DAY, BERLIN)[9]
    few, many = ((50.0, 40.0),), ((50.0, 40.0, 30.0),)
    store_levels(path, minutes(start, first, 60.0, third_octaves_db=many))
    rest = start + timedelta(minutes=first)
    store_levels(path, minutes(rest, 60 - first, 60.0, third_octaves_db=few))
    (hour,) = [it for it in levels(path).hours if it.hour == 9]
    expected = (50.0, 40.0, 30.0)[:bands]
    assert hour.figures.third_octaves_db == pytest.approx(expected, abs=1e-4)


def test_several_days_are_joined_and_may_be_read_without_percentiles(
    path: Path,
) -> None:
    for number, level in enumerate((60.0, 63.0)):
        day = DAY + timedelta(days=number)
        store_levels(path, hour_frames(day, by_period(level, level, level)))
    last = DAY + timedelta(days=1)
    found = levels(path, DAY, last, percentiles=False)
    mean = 10 * math.log10((10**6 + 10**6.3) / 2)
    assert found.all_days.whole.laeq_db == pytest.approx(mean)
    assert found.all_days.whole.l50_db is None
    assert levels(path, DAY, last).all_days.whole.l90_db == 60.0
    assert not found.hours


def test_noisemonitor_finds_the_same_levels(path: Path) -> None:
    """The published tool, on the level of each second of a day, in 0.1 dB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import noisemonitor
        import pandas as pd

    generator = np.random.default_rng(1)
    hours = np.arange(86_400) / 3600
    base = 55 + 8 * np.sin((hours - 9) / 24 * 2 * np.pi)
    laf = base + generator.gamma(2.0, 2.5, 86_400)
    start = begin_of(DAY, BERLIN)
    frames = [
        level_frame(
            start + timedelta(seconds=first + 10),
            float(10 * np.log10(np.mean(10 ** (laf[first : first + 10] / 10)))),
            seconds=10,
            laf_db=tuple(laf[first : first + 10].tolist()),
        )
        for first in range(0, 86_400, 10)
    ]
    store_levels(path, frames)
    found = levels(path)
    index = pd.date_range("2026-11-23", periods=86_400, freq="s")
    series = pd.DataFrame({"level": laf}, index=index)
    theirs = noisemonitor.summary.lden(series)
    assert found.all_days.lden_db == pytest.approx(theirs["Lden"][0], abs=0.1)
    for period in ("day", "evening", "night"):
        level = found.all_days.periods[period].laeq_db
        assert level == pytest.approx(theirs[f"L{period}"][0], abs=0.1)
    for figures, first, last in [(found.all_days.whole, 0, 24)] + [
        (hour.figures, hour.hour, hour.hour + 1) for hour in found.hours[3:21:6]
    ]:
        theirs = noisemonitor.summary.leq(series, first, last)
        ours = figures.laeq_db, figures.l10_db, figures.l50_db, figures.l90_db
        for level, name in zip(ours, ("Leq", "L10", "L50", "L90"), strict=True):
            assert level == pytest.approx(theirs[name][0], abs=0.1), name
