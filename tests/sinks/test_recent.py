"""The recent levels are mean energies of about a second each."""

from typing import Any

import numpy as np
import pytest

from monitor.sinks.recent import Recent
from monitor.text import utc_text
from tests.support.timed import event, frame


def test_levels_are_mean_energies_of_a_second() -> None:
    levels = Recent()
    assert levels.push(*_hop(1.0, -20.0)) is None
    assert levels.push(*_hop(1.5, -20.0)) is None
    line = levels.push(*_hop(2.0, -30.0))
    assert line is not None
    assert line["level_dbfs"] == pytest.approx(10 * np.log10(0.021 / 3), abs=0.05)
    assert levels.push(*_hop(9.0, -50.0)) is None  # after a gap
    assert levels.push(*_hop(10.0, -50.0))["level_dbfs"] == -50.0
    for second in range(1000):
        levels.push(*_hop(11.0 + second, -40.0))
    assert len(levels.document()["sources"][0]["levels"]) == 600


def test_the_newest_events_are_kept_with_their_bounds() -> None:
    recent = Recent()
    for number in range(40):
        ended = event("street", number=number, start_seconds=10.0 * number)
        recent.add_event(ended, ended.record)
    (street,) = recent.document()["sources"]
    assert len(street["events"]) == 30
    assert street["events"][-1] == {
        "id": "session-street-39",
        "label": "siren",
        "start": utc_text(ended.start_utc),
        "end": utc_text(ended.end_utc),
    }
    recent.forget()
    assert recent.document() == {"sources": []}


def _hop(stop_seconds: float, level_dbfs: float) -> Any:
    timed = frame(stop_seconds=4.005 + stop_seconds, level_dbfs=level_dbfs)
    return timed, timed.record
