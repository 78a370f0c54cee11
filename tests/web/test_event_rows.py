"""Rows of the list: the picture of scores, and the axis of clips."""

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.sinks.store.event_pages import EventFilters
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.score_curves import COLUMNS
from monitor.text import WeightedUnits
from monitor.web.event_rows import AROUND, LONGEST, curve_path, event_rows, frequencies
from tests.support.store import make_store, score_frames
from tests.support.timed import event, timed


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
    assert curve_path(scores) == path


def test_a_level_has_the_unit_of_its_time(tmp_path: Path) -> None:
    """Of an event that an earlier version stored, that of today."""
    path = tmp_path / "monitor.db"
    store = make_store(path)
    offsets = (0.0, 94.0, None)
    store.write(
        [
            timed(replace(event(number=number).record, level_offset_db=offset_db))
            for number, offset_db in enumerate(offsets)
        ]
    )
    store.close()
    units = WeightedUnits({"street": "dB(A)"})
    with open_to_read(path) as reader:
        events = reader.events_page(EventFilters()).events
        rows = event_rows(events, reader, None, units, "en")
        found = {it.record.id[-1]: it.level for it in rows}
    assert [found[number] for number in "012"] == [
        "63 dBFS(A)",
        "63 dB(A)",
        "63 dB(A)",
    ]


def test_the_axis_of_a_spectrogram_has_the_heights_of_its_rows() -> None:
    assert frequencies(44_100) == [50, 230, 1000, 4800, 22000]


def test_the_picture_of_a_long_event_has_its_first_minutes(tmp_path: Path) -> None:
    """Else a night of a hum would be read at once."""
    path = tmp_path / "monitor.db"
    store = make_store(path)
    store.write([event(start_seconds=0, seconds=1200), *score_frames(10)])
    store.close()
    with open_to_read(path) as reader:
        events = reader.events_page(EventFilters()).events
        (row,) = event_rows(events, reader, None, WeightedUnits({}), "en")
    assert row.curve is not None
    assert row.curve.event_x == round(COLUMNS * AROUND / (LONGEST + 2 * AROUND), 2)
