"""How health is shown: in the event log, in lines, and on the live console."""

import json

import pytest

from monitor.records import EVERY_SOURCE, HealthKind
from monitor.sinks.console.layout import BAD, UNICODE, Canvas, draw
from monitor.sinks.console.plain import format_line
from monitor.sinks.console.state import Board
from monitor.sinks.encoding import HEALTH_KEYS, KEYS, encode, encode_line
from monitor.text import HEALTH_KINDS
from tests.support.health import trouble
from tests.support.timed import LABELS, SAMPLE_RATE, frame, state, statistics


def test_health_is_a_line_of_schema_1_with_three_more_keys() -> None:
    raised = encode(trouble())
    cleared = encode(trouble("cleared", seconds=75, detail=""))
    assert raised is not None
    assert cleared is not None
    assert list(raised) == list(cleared) == [*KEYS, *HEALTH_KEYS]
    assert raised["type"] == cleared["type"] == "health"
    assert raised["id"] == cleared["id"]
    assert (raised["kind"], raised["state"]) == ("clipping", "raised")
    assert raised["detail"] == "turn the gain down"
    assert raised["start"] == cleared["start"] == "2026-11-23T05:56:20.000Z"
    ends = ("end", "stop_sample", "end_seconds", "end_reason")
    assert [raised[key] for key in ends] == [None] * 4
    assert [cleared[key] for key in ends] == [
        "2026-11-23T05:57:35.000Z",
        95 * SAMPLE_RATE,
        95.0,
        None,
    ]
    line = encode_line(trouble())
    assert line is not None
    assert json.loads(line) == raised


def test_a_plain_line_says_what_is_wrong_and_when_it_is_over() -> None:
    raised, cleared = format_line(trouble()), format_line(trouble("cleared", detail=""))
    assert raised is not None
    assert raised.endswith("street  clipping  raised  turn the gain down")
    assert cleared is not None
    assert cleared.endswith("street  clipping  cleared after 10.0 s")


def board(*sources: str) -> Board:
    shown = Board(sources, LABELS, SAMPLE_RATE, {})
    for source in sources:
        shown.take(state(source))
        shown.take(frame(source))
    shown.report(statistics(*sources))
    return shown


def rows(shown: Board, width: int = 90) -> list[str]:
    lines = draw(shown, "urban", Canvas(width, 24, UNICODE))
    return ["".join(segment.text for segment in line) for line in lines]


def test_a_source_shows_its_trouble_in_colour_until_it_is_cleared() -> None:
    shown = board("street", "yard")
    shown.take(trouble())
    street, yard = [line for line in rows(shown) if "100 %" in line]
    found = [
        segment
        for line in draw(shown, "urban", Canvas(90, 24, UNICODE))
        for segment in line
        if segment.text.strip() == "clipping"
    ]
    assert [segment.style for segment in found] == [BAD, BAD]  # state, happening
    assert "clipping" in street
    assert "listening" in yard
    shown.take(trouble("cleared"))
    assert sum("listening" in line for line in rows(shown)) == 2
    assert any("clipping" in line and "cleared" in line for line in rows(shown))


def test_of_two_troubles_the_older_one_is_shown_again_when_the_newer_is_over() -> None:
    shown = board("street")
    shown.take(trouble(kind="dc-offset"))
    shown.take(trouble(kind="clipping"))
    shown.take(trouble("cleared", kind="clipping"))
    assert any("dc offset" in line and "street" in line for line in rows(shown))


def test_what_concerns_all_is_shown_with_each_source_and_is_none_itself() -> None:
    shown = board("street", "yard")
    shown.take(trouble(kind="disk", source=EVERY_SOURCE))
    assert set(shown.sources) == {"street", "yard"}
    assert all(source.troubles for source in shown.sources.values())
    shown.take(trouble("cleared", kind="disk", source=EVERY_SOURCE))
    assert not any(source.troubles for source in shown.sources.values())


@pytest.mark.parametrize("kind", HEALTH_KINDS)
@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_every_kind_fits_into_its_column(kind: HealthKind, width: int) -> None:
    shown = board("street")
    shown.take(trouble(kind=kind))
    assert len(HEALTH_KINDS[kind]) <= 10
    assert all(len(line) < width for line in rows(shown, width))
