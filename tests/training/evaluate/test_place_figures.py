"""Figures in places: rates, their limits, and moved thresholds."""

from typing import Any

import pytest

from monitor.model.thresholds import highest_rate
from training.evaluate.place_figures import curves, moved, place_figures
from training.evaluate.thresholds import Threshold
from training.streams.metrics import Detected, Reference, StreamResult

ALARM = Detected(10.0, 11.0, "siren", 11.0)
EVENT = StreamResult(
    60.0, (Reference(5.0, 8.0, "siren"),), (Detected(5.0, 8.0, "siren", 6.0),), "street"
)


def places(networks: int, alarms: int) -> list[StreamResult]:
    """An hour in two places, each masked by several networks."""
    return [
        StreamResult(1800.0, (), (ALARM,) * alarms, name)
        for name in ("street", "park")
        for _ in range(networks)
    ]


def figures_of(
    alone: list[StreamResult], event: StreamResult, **masked: dict[str, float]
) -> dict[str, Any]:
    tops = {"siren": {"street": 0.5, "park": 0.2}}
    groups = {"street": "town", "park": "town"}
    return place_figures(alone, [event], tops, ["siren"], groups, masked)


@pytest.mark.parametrize("networks", [1, 2, 5])
@pytest.mark.parametrize("alarms", [0, 1])
def test_places_that_several_networks_hear_count_once(
    networks: int, alarms: int
) -> None:
    figures = figures_of(places(networks, alarms), EVENT)
    for own in (figures, figures["per_label"]["siren"]):
        assert own["false_alarms"] == 2 * alarms * networks
        assert own["false_alarms_per_hour"] == pytest.approx(2 * alarms)
        limit = highest_rate(2 * alarms, 1.0)
        assert own["false_alarms_per_hour_at_most"] == pytest.approx(limit)


def test_a_moved_threshold_lies_as_many_logits_from_its_own() -> None:
    found = Threshold(0.5, 0.3, 0.0, False)
    there = moved(found, 0.6, 0.9)
    # 0.6 to 0.9 are the odds times six.
    assert there.onset == pytest.approx(6 / 7)
    assert there.offset == pytest.approx(0.6 * 6 / 7)


def test_equal_thresholds_stay_ordered_when_they_are_moved() -> None:
    for onset in (0.019, 0.051, 0.077, 0.155):
        there = moved(Threshold(onset, onset, 0.0, False), 0.5, 0.61)
        assert there.offset <= there.onset


def detected(true: float, found: Detected) -> float | None:
    event = StreamResult(
        60.0, (Reference(true, true + 4, "siren", 15.0),), (found,), "park"
    )
    figures = figures_of(places(1, 0), event)
    share: float | None = figures["detected"]
    return share


def test_an_event_that_was_on_before_the_sound_does_not_detect_it() -> None:
    assert detected(5.0, Detected(4.5, 9.0, "siren", 6.0)) == 1
    assert detected(5.0, Detected(1.0, 9.0, "siren", 3.0)) == 0


def test_a_curve_states_nothing_of_levels_without_an_event() -> None:
    event = StreamResult(60.0, (Reference(5.0, 8.0, "siren", 15.0),), ())
    found = curves(
        {"siren": Threshold(0.5, 0.3, 0.0, False)},
        {"siren": {"street": 0.4, "park": 0.2}},
        {},
        lambda onsets: (places(1, 0), [event]),
    )
    assert {point.detected_near for point in found["siren"]} == {0.0}
    assert {point.detected_far for point in found["siren"]} == {None}


def test_where_a_label_may_sound_a_place_says_nothing_of_its_false_alarms() -> None:
    figures = figures_of(places(2, 1), EVENT, siren={"street": 900.0})
    assert figures["false_alarms_per_hour"] == pytest.approx(2)
    own = figures["per_label"]["siren"]
    assert own["false_alarms_per_hour"] == pytest.approx(2 / 0.75)


def test_takes_of_one_place_are_one_place() -> None:
    figures = figures_of(places(1, 1), EVENT)
    assert figures["recordings_of_places"] == 2
    assert figures["places"] == 1
    # All there is in one place: drawn anew, it is always the same.
    assert figures["false_alarms_per_hour_ci95"] == [2, 2]


def test_a_long_false_alarm_is_seen_in_the_time_that_it_takes() -> None:
    assert figures_of(places(1, 1), EVENT)["false_alarm_seconds_per_hour"] == 2
