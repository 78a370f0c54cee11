"""Rows of the list: the picture of scores, and the ranks of labels."""

import pytest

from monitor.sinks.store.event_pages import EventKey, ListedEvent
from monitor.sinks.store.score_curves import ScoreCurve
from monitor.web.event_rows import curve_path, ranks
from tests.support.timed import OPENED, event


@pytest.mark.parametrize(
    ("scores", "path"),
    [
        ((1.0, 1.0, 0.5), "M0 24V0H2V12H3V24Z"),
        ((None, 0.5, None, 1.0), "M1 24V12H2V24ZM3 24V0H4V24Z"),
        ((0.0, 0.25, 0.25, 0.0), "M0 24V24H1V18H3V24H4V24Z"),
        ((None, None), ""),
    ],
)
def test_the_area_is_under_the_scores(
    scores: tuple[float | None, ...], path: str
) -> None:
    """A step for each change, and a hole where nothing was analysed."""
    assert curve_path(ScoreCurve(OPENED, OPENED, scores)) == path


def test_the_most_frequent_label_has_the_first_rank() -> None:
    labels = ["b", "a", "c", "b", *map(str, range(10))]
    events = [
        ListedEvent(EventKey(number, number), event(label=label, number=number), None)
        for number, label in enumerate(labels)
    ]
    found = ranks(events)
    assert (found["b"], found["0"], found["1"]) == (0, 1, 2)
    assert found["a"] == found["c"] == 9
