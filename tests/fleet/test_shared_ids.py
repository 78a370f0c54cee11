"""Two monitors with one id are noticed, and one that restarts or is late is not."""

from datetime import UTC, datetime, timedelta

import pytest

from monitor.fleet.collect.shared_ids import ALTERNATIONS, SharedIds
from monitor.sinks.publish.record import RecordMessage, decode_message, encode_message
from monitor.text import utc_text

BEGIN = datetime(2026, 11, 30, 12, tzinfo=UTC)


def digest(
    minute: float, run: float, epoch: str = "0f0f0f0f", late: float = 0.0
) -> RecordMessage:
    """A digest of the run that began in a minute, sent `late` seconds later."""
    clock = BEGIN + timedelta(minutes=minute)
    uptime = 60 * (minute - run)
    record = {"last": 1, "clock": utc_text(clock), "uptime_seconds": uptime}
    sent = clock + timedelta(seconds=late)
    payload = encode_message("yard", epoch, 1, "digest", record, sent)
    return decode_message(payload, "yard", sent + timedelta(days=1))


@pytest.mark.parametrize("other", ["0f0f0f0f", "1e1e1e1e"])
def test_two_monitors_with_one_id_alternate(other: str) -> None:
    ids = SharedIds()
    found = []
    for minute in range(10, 14):
        found.append(ids.is_shared(digest(minute, 0)))
        found.append(ids.is_shared(digest(minute + 0.5, 3, other)))
    assert found == [False] * (1 + ALTERNATIONS) + [True] * (7 - ALTERNATIONS)


def test_restarts_and_what_comes_again_are_no_alternations() -> None:
    ids = SharedIds()
    for minute in range(10, 40):
        assert not ids.is_shared(digest(minute, minute // 3 * 3))
        assert not ids.is_shared(digest(minute - 1, (minute - 1) // 3 * 3))  # again
        assert not ids.is_shared(digest(minute - 9, 0, late=500))  # asked for
