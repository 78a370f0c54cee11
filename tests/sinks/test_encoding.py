import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.records import Event, Gap, Timed
from monitor.sinks.encoding import HEALTH_KEYS, KEYS, encode, encode_line
from tests.support.health import trouble
from tests.support.timed import SAMPLE_RATE, event, frame, gap, onset, samples, state

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NUMBER = (int, float)
SHAPE: dict[str, tuple[type, ...]] = {
    "schema": (int,),
    "type": (str,),
    "id": (str,),
    "source": (str,),
    "label": (str, type(None)),
    "start": (str, type(None)),
    "end": (str, type(None)),
    "start_sample": (int,),
    "stop_sample": (int, type(None)),
    "start_seconds": NUMBER,
    "end_seconds": (*NUMBER, type(None)),
    "peak_score": (*NUMBER, type(None)),
    "mean_score": (*NUMBER, type(None)),
    "level_dbfs": (*NUMBER, type(None)),
    "laeq_db": (*NUMBER, type(None)),
    "end_reason": (str, type(None)),
    "top": (list,),
    "model": (str, type(None)),
}


def decoded(timed: Timed) -> dict[str, Any]:
    """Read a line as another program would: strictly."""
    line = encode_line(timed)
    assert line is not None
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found: dict[str, Any] = json.loads(line, parse_constant=refuse)
    assert list(found) == list(SHAPE) == list(KEYS)
    for key, types in SHAPE.items():
        assert isinstance(found[key], types), (key, found[key])
    for key in ("start", "end"):
        assert found[key] is None or ISO.fullmatch(found[key])
    for label, score in found["top"]:
        assert isinstance(label, str)
        assert score is None or 0 <= score <= 1
    return found


def test_an_event_has_every_field_of_schema_1() -> None:
    assert decoded(event()) == {
        "schema": 1,
        "type": "event",
        "id": "session-street-1",
        "source": "street",
        "label": "siren",
        "start": "2026-11-23T05:56:13.400Z",
        "end": "2026-11-23T05:56:20.100Z",
        "start_sample": 590_940,
        "stop_sample": 886_410,
        "start_seconds": 13.4,
        "end_seconds": 20.1,
        "peak_score": 0.9346,
        "mean_score": 0.8123,
        "level_dbfs": -21.0,
        "laeq_db": 63.3,
        "end_reason": "offset",
        "top": [["siren", 0.9346], ["car_horn", 0.2], ["street_music", 0.1]],
        "model": "urban",
    }


def test_an_onset_has_no_end_and_the_id_of_its_event() -> None:
    found = decoded(onset())
    assert found["type"] == "onset"
    assert found["id"] == decoded(event())["id"]
    for key in ("end", "stop_sample", "end_seconds", "end_reason"):
        assert found[key] is None


def test_a_gap_has_its_reason_and_neither_label_nor_scores() -> None:
    found = decoded(gap(reason="stalled"))
    assert found["type"] == "gap"
    assert found["end_reason"] == "stalled"
    assert found["end_seconds"] == pytest.approx(32.3)
    assert found["top"] == []
    for key in ("label", "peak_score", "mean_score", "level_dbfs", "laeq_db", "model"):
        assert found[key] is None


def test_the_gap_of_an_overload_says_how_much_of_it_was_left_out() -> None:
    found = gap(seconds=20, reason="overload")
    assert "left_out_seconds" not in decoded(found)
    assert isinstance(found.record, Gap)
    record = replace(found.record, left_out=samples(8.5))
    encoded = encode(replace(found, record=record))
    assert encoded is not None
    assert encoded["left_out_seconds"] == 8.5
    assert list(encoded) == [*KEYS, "left_out_seconds"]


def test_the_id_of_a_gap_follows_from_the_gap_and_differs_between_runs() -> None:
    first = gap()
    assert decoded(first)["id"] == decoded(first)["id"]
    assert first.start_utc is not None
    later = replace(first, start_utc=first.start_utc + timedelta(days=1))
    assert decoded(later)["id"] != decoded(first)["id"]
    assert decoded(gap(start_seconds=31.0))["id"] != decoded(first)["id"]
    assert decoded(gap(source="yard"))["id"] != decoded(first)["id"]


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


def test_times_that_are_unknown_are_null() -> None:
    found = decoded(event(opened=None))
    assert found["start"] is None
    assert found["end"] is None
    assert found["start_seconds"] == 13.4


def test_times_are_utc_whatever_zone_they_come_in() -> None:
    opened = datetime(2026, 11, 23, 5, 56, 0, 0, UTC)
    elsewhere = opened.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert decoded(event(opened=elsewhere)) == decoded(event(opened=opened))


def test_score_frames_and_states_are_not_encoded() -> None:
    for other in (frame(), state()):
        assert encode(other) is None
        assert encode_line(other) is None


def test_zero_has_no_minus() -> None:
    quiet = event()
    assert isinstance(quiet.record, Event)
    loud = replace(quiet, record=replace(quiet.record, level_dbfs=-0.01))
    assert b'"level_dbfs": 0.0' in (encode_line(loud) or b"")


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(level=numbers, score=numbers, seconds=numbers, text=st.text())
def test_every_record_is_a_line_of_json(
    level: float, score: float, seconds: float, text: str
) -> None:
    """Numbers that JSON cannot say become null; text comes back as it was."""
    base = event()
    assert isinstance(base.record, Event)
    record = replace(
        base.record,
        level_dbfs=level,
        laeq_db=level,
        peak_score=score,
        label=text,
        top=((text, 0.5),),
    )
    line = encode_line(Timed(record, seconds, seconds, None, None))
    assert line is not None
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert found["label"] == text
    assert found["top"] == [[text, 0.5]]
    for key, value in (("level_dbfs", level), ("peak_score", score)):
        assert (found[key] is None) == (not math.isfinite(value))
