import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from monitor.records import Gap, Timed
from monitor.sinks.console.plain import PlainConsole, format_line
from tests.support.health import trouble
from tests.support.timed import (
    event,
    frame,
    gap,
    onset,
    samples,
    state,
    statistics,
    timed,
)

NOW = datetime(2026, 11, 23, 5, 56, 21, 400_000, UTC)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is UTC in this module."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("timed", "line"),
    [
        (onset(), "siren  began at 05:56:13.4  score 0.93  -21 dBFS"),
        (event(), "siren  ended after 6.7 s from 05:56:13.4  score 0.93  -21 dBFS"),
        (gap(), "gap  lost 2.3 s from 05:56:30.0  the source was gone"),
        (
            timed(Gap("street", 0, samples(20), "overload", samples(8.5))),
            "gap  left out 8.5 of 20.0 s from 05:56:00.0  "
            "windows left out: machine too slow",
        ),
        (
            state(name="waiting", detail="no microphone 'default'"),
            "waiting  no microphone 'default'",
        ),
        (state(), "listening"),
        (
            event(opened=None),
            "siren  ended after 6.7 s from 0:00:13.4  score 0.93  -21 dBFS",
        ),
        (trouble(), "clipping  raised from 05:56:20.0  turn the gain down"),
        (
            trouble("cleared", detail=""),
            "clipping  cleared after 10.0 s from 05:56:20.0",
        ),
    ],
)
def test_each_record_is_one_line_with_its_moment_and_the_begin_of_the_sound(
    timed: Timed, line: str
) -> None:
    assert format_line(timed, NOW) == f"2026-11-23 05:56:21.4  street  {line}"


def test_the_begin_on_another_day_has_a_date() -> None:
    line = format_line(event(), NOW + timedelta(days=1))
    assert line is not None
    assert line.startswith("2026-11-24 05:56:21.4  street  ")
    assert "from 2026-11-23 05:56:13.4" in line


def test_score_frames_and_statistics_print_nothing() -> None:
    stream = io.StringIO()
    sink = PlainConsole(stream, lambda: NOW)
    sink.write([frame()])
    sink.report(statistics("street"))
    sink.close()
    assert stream.getvalue() == ""


def test_a_detail_of_two_lines_stays_one_line() -> None:
    line = format_line(state(detail="first\nsecond\x1b[2J"), NOW)
    assert line is not None
    assert line.isprintable()
