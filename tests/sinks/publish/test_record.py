"""The form on the wire: what is sent is taken, and anything else is refused."""

import json
from datetime import UTC, datetime

import pytest

from monitor.config.publish import monitor_id_of_host
from monitor.sinks.publish.record import (
    MOST_RANGES,
    OccurrenceRecord,
    RecordError,
    decode_message,
    decode_wanted,
    encode_message,
    encode_wanted,
)

NOW = datetime(2026, 11, 30, 21, tzinfo=UTC)
EPOCH = "3f9c" * 8
EVENT = {
    "schema": 1,
    "type": "event",
    "session": "s1",
    "id": "yard-1",
    "source": "yard",
    "label": "siren",
    "start": "2026-11-30T20:59:00.000Z",
    "end": "2026-11-30T20:59:04.000Z",
    "start_sample": 0,
    "stop_sample": 88200,
    "start_seconds": 0.0,
    "end_seconds": 4,
    "peak_score": 0.9,
    "mean_score": None,
    "level_dbfs": -20.0,
    "laeq_db": -30.0,
    "end_reason": "offset",
    "top": [["siren", 0.9], ["dog bark", None]],
    "model": "urban",
    "from_the_future": {"kept": True},
}


def _message(**changes: object) -> bytes:
    return json.dumps(_document(**changes)).encode()


def _document(**changes: object) -> dict[str, object]:
    payload = encode_message("yard", EPOCH, 17, "event", EVENT, NOW)
    return {**json.loads(payload), **changes}


def _event(**changes: object) -> bytes:
    return _message(record={**EVENT, **changes})


def _digest(**changes: object) -> bytes:
    digest = {"last": 17, "clock": "2026-11-30T21:00:00.000Z"}
    return _message(type="digest", record={**digest, **changes})


def test_what_is_encoded_is_decoded_with_its_unknown_keys() -> None:
    message = decode_message(_message(more=1), "yard", NOW)
    assert (message.epoch, message.sequence, message.type) == (EPOCH, 17, "event")
    assert message.record == EVENT
    assert isinstance(message.contents, OccurrenceRecord)
    assert message.contents.start == datetime(2026, 11, 30, 20, 59, tzinfo=UTC)


def test_a_text_that_looks_like_an_escape_is_taken() -> None:
    message = decode_message(_event(label=r"\u0000"), "yard", NOW)
    assert message.record["label"] == r"\u0000"


def test_newer_forms_and_unknown_types_are_taken_unread() -> None:
    newer = decode_message(_message(form=2, record={"a": 1}), "yard", NOW)
    assert newer.is_newer
    assert newer.contents is None
    unknown = decode_message(_message(type="smell", record={"a": 1}), "yard", NOW)
    assert not unknown.is_newer
    assert unknown.contents is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{" + b" " * 300_000 + b"}", "too-large"),
        (b"\xff\xfe", "not-json"),
        (b"[" * 100_000, "not-json"),
        (b"[]", "not-json"),
        (_message().replace(b'"offset"', rb'"off\u0000"'), "not-json"),
        (_message().replace(b'"offset"', rb'"off\ud800"'), "not-json"),
        (_message().replace(b"-20.0", b"NaN"), "not-json"),
        (_message().replace(b"-20.0", b"1e999"), "not-json"),
        (_message().replace(b": 17,", b": " + b"9" * 5000 + b","), "not-json"),
        (_message(sequence=0), "envelope"),
        (_message(sequence=2**53 + 1), "envelope"),
        (_message(sequence=True), "envelope"),
        (_message(sequence="17"), "envelope"),
        (_message(epoch="'; DROP TABLE events; --"), "envelope"),
        (_message(monitor="yard\n"), "envelope"),
        (_message(record=[]), "envelope"),
        (_message(monitor="street"), "monitor"),
        (_message(sent="1999-12-31T23:59:59.999Z"), "wrong-time"),
        (_message(sent="2026-12-01T21:00:00.001Z"), "wrong-time"),
        (_message(record={}), "incomplete"),
        (_event(start="0001-01-01T00:00:00.000Z"), "wrong-time"),
        (_event(start="9999-12-31T23:59:59.999Z"), "wrong-time"),
        (_event(start="2026-11-30T20:59:00.000"), "wrong-value"),
        (_event(start=17), "wrong-value"),
        *(
            (_event(start=text), "wrong-value")
            for text in (
                "2026-W48-1T00:00:00Z",
                "2026-11-30T20:59:00,5Z",
                "20261130T205900Z",
                "2026-11-30T20:59Z",
                "2026-11-30 20:59:00Z",
                "2026-11-30T20:59:00+00:00",
                "2026-11-30T20:59:00.000Z\n",
                "2026-11-31T20:59:00.000Z",
                "2026-11-30T24:00:01.000Z",
            )
        ),
        (_event(label="x" * 201), "wrong-value"),
        (_event(peak_score=1.5), "wrong-value"),
        (_event(start_sample=2**63), "wrong-value"),
        (_event(top=[["siren"]]), "incomplete"),
        (_event(laeq_db=1e300), "wrong-value"),
        (_digest(last=2**53 + 1), "wrong-value"),
        (_digest(uptime_seconds=-1e300), "wrong-value"),
        (_digest(uptime_seconds=1e10), "wrong-value"),
    ],
)
def test_a_hostile_message_is_refused_with_its_reason(
    payload: bytes, reason: str
) -> None:
    with pytest.raises(RecordError) as raised:
        decode_message(payload, "yard", NOW)
    assert raised.value.reason == reason
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_record_that_is_too_large_is_not_encoded() -> None:
    with pytest.raises(RecordError, match="too large"):
        encode_message("yard", EPOCH, 1, "scores", {"data": "x" * 300_000}, NOW)


def test_a_request_is_decoded_as_it_was_encoded() -> None:
    assert decode_wanted(encode_wanted(EPOCH, [(1, 2), (9, 9)])) == (
        EPOCH,
        [(1, 2), (9, 9)],
    )
    longest = encode_wanted("f" * 64, [(2**63 - 1, 2**63 - 1)] * MOST_RANGES)
    assert len(decode_wanted(longest)[1]) == MOST_RANGES
    assert len(longest) <= 1000
    for wrong in (b"", b"{}", b'{"epoch": 1, "ranges": []}', b"[1]"):
        with pytest.raises(RecordError):
            decode_wanted(wrong)


@pytest.mark.parametrize(
    ("host", "monitor"),
    [
        ("yard", "yard"),
        ("Raspberry Pi.local", "raspberry-pi"),
        ("äöü", "monitor"),
        ("_x_", "x"),
        ("n" * 80, "n" * 63),
    ],
)
def test_a_host_name_becomes_an_id(host: str, monitor: str) -> None:
    assert monitor_id_of_host(host) == monitor
