"""The noise floor: what is a fall, and what is only the night."""

import math

import numpy as np
import pytest

from monitor.audio.signal_health import HealthJudge
from monitor.config.audio import HealthSettings
from monitor.records import Health
from tests.support.health import RATE, hop, judge, outline

HOP_SECONDS = 2.0
"""Longer than that of the monitor, so that days pass in a second."""

MINUTE = 60


class Place:
    """A place whose levels are told hop by hop."""

    def __init__(self, by: HealthJudge | None = None) -> None:
        self.judge = by or judge(HealthSettings())
        self.told: list[Health] = []
        self.seconds = 0.0
        self._random = np.random.default_rng(1)

    def sounds(
        self, minutes: float, level_db: float, to_db: float | None = None
    ) -> "Place":
        """A floor from `level_db` to `to_db`, with something louder now and then."""
        count = round(minutes * MINUTE / HOP_SECONDS)
        floors = np.linspace(level_db, level_db if to_db is None else to_db, count)
        louder = self._random.exponential(6.0, count)
        for level in floors + louder:
            self.seconds += HOP_SECONDS
            self.told += self.judge.hear(hop(round(self.seconds * RATE), float(level)))
        return self

    def is_away(self, minutes: float) -> "Place":
        self.seconds += minutes * MINUTE
        return self

    @property
    def states(self) -> list[str]:
        assert {it.kind for it in self.told} <= {"noise-floor"}
        return [it.state for it in self.told]


def test_a_sudden_fall_that_stays_is_told_and_so_is_its_end() -> None:
    place = Place().sounds(180, 50).sounds(60, 30).sounds(60, 50)
    raised, cleared = place.told
    assert any(f"{fall} dB quieter" in raised.detail for fall in (17, 18, 19, 20))
    ((_, _, began, told), (_, _, _, ended)) = outline(place.told)
    assert began == pytest.approx(180 * MINUTE, abs=2 * MINUTE)
    assert told == pytest.approx(190 * MINUTE, abs=2 * MINUTE)
    assert ended == pytest.approx(240 * MINUTE, abs=2 * MINUTE)
    assert (raised.state, cleared.state) == ("raised", "cleared")
    assert raised.id == cleared.id


def test_a_fall_of_minutes_is_not_told() -> None:
    assert Place().sounds(180, 50).sounds(8, 20).sounds(60, 50).told == []


def test_a_fall_by_less_than_the_setting_is_not_told() -> None:
    assert Place().sounds(180, 50).sounds(60, 41).told == []
    sensitive = judge(HealthSettings(noise_floor_fall_db=6))
    assert Place(sensitive).sounds(180, 50).sounds(60, 41).states == ["raised"]


def test_before_two_hours_are_known_nothing_is_judged() -> None:
    assert Place().sounds(110, 50).sounds(300, 20).told == []


def test_evenings_and_nights_are_no_fall() -> None:
    """Days that are 25 dB louder than their nights, begun at noon and in the dark."""
    for hour in (6, 15):
        place = Place()
        for half_hour in range(3 * 48):
            now, then = (
                40 + 12.5 * math.sin(2 * math.pi * (hour + half / 2) / 24)
                for half in (half_hour, half_hour + 1)
            )
            place.sounds(30, now, then)
        assert place.told == []


def test_an_evening_of_two_hours_on_the_first_day_is_no_fall() -> None:
    assert Place().sounds(480, 55).sounds(120, 55, 35).sounds(480, 35).told == []


def test_a_machine_that_stops_each_night_is_news_once() -> None:
    """What came back by itself after hours was the place."""
    place = Place()
    for _ in range(3):
        place.sounds(15 * 60, 55).sounds(9 * 60, 35)
    assert place.states == ["raised", "cleared"]


def test_a_hand_that_covers_it_twice_is_news_twice() -> None:
    place = Place().sounds(300, 50)
    for _ in range(2):
        place.sounds(30, 25).sounds(60, 50)
    assert place.states == ["raised", "cleared"] * 2


def test_what_stays_covered_stays_raised() -> None:
    assert Place().sounds(300, 50).sounds(3000, 30).states == ["raised"]


def test_a_long_gap_begins_anew_and_a_short_one_does_not() -> None:
    """After a long one it may be another microphone, or another place."""
    assert Place().sounds(300, 50).is_away(30).sounds(110, 25).told == []
    assert Place().sounds(300, 50).is_away(5).sounds(60, 25).states == ["raised"]


def test_a_long_gap_ends_a_fall_and_says_why() -> None:
    place = Place().sounds(300, 50).sounds(30, 25).is_away(60).sounds(30, 25)
    assert place.states == ["raised", "cleared"]
    assert "learned anew" in place.told[-1].detail


def test_a_muted_microphone_is_no_fall() -> None:
    """Digital silence is a trouble of its own."""
    place = Place().sounds(300, 50)
    for number in range(round(60 * MINUTE / HOP_SECONDS)):
        stop = round((place.seconds + number * HOP_SECONDS) * RATE)
        place.told += place.judge.hear(hop(stop, -30.0, level_dbfs=-120.0))
    assert place.told == []


def test_in_a_recording_a_fall_is_no_news() -> None:
    recording = judge(HealthSettings(), live=False)
    assert Place(recording).sounds(300, 50).sounds(60, 20).told == []
