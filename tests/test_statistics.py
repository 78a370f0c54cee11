"""A source counts as listened to while its sound is analysed."""

from dataclasses import replace

import pytest

from monitor.records import HealthKind, SourceStateName
from monitor.statistics import FRESH_SECONDS, Trouble
from tests.support.timed import statistics


def test_a_source_is_listened_to_until_nothing_was_analysed_for_a_while() -> None:
    fresh = statistics("street")
    assert fresh.listening(FRESH_SECONDS - 1) == {"street": True}
    assert fresh.listening(FRESH_SECONDS) == {"street": False}
    idle = statistics("street", idle_seconds=FRESH_SECONDS - 1)
    assert idle.listening() == {"street": True}
    assert idle.listening(1) == {"street": False}


@pytest.mark.parametrize("state", ["opening", "waiting", "ended"])
def test_a_source_in_any_other_state_is_not_listened_to(state: SourceStateName) -> None:
    assert statistics("street", state=state).listening() == {"street": False}


def test_a_recording_that_ended_is_left_out_unless_all_have_ended() -> None:
    ended = statistics("file", "other", state="ended")
    assert ended.listening() == {"file": False, "other": False}
    street = statistics("street").sources
    beside = replace(ended, sources=ended.sources + street)
    assert beside.listening() == {"street": True}


@pytest.mark.parametrize(
    ("source", "kind", "listening"),
    [
        ("yard", "digital-silence", {"street": True, "yard": False}),
        ("yard", "no-signal", {"street": True, "yard": False}),
        ("yard", "repetition", {"street": True, "yard": False}),
        ("yard", "below-gate", {"street": True, "yard": True}),
        ("yard", "stuck-channel", {"street": True, "yard": False}),
        ("yard", "canary", {"street": True, "yard": False}),
        ("*", "canary", {"street": False, "yard": False}),
        ("yard", "clipping", {"street": True, "yard": True}),
        ("*", "disk", {"street": True, "yard": True}),
    ],
)
def test_a_source_whose_sounds_would_not_be_detected_is_not_listened_to(
    source: str, kind: HealthKind, listening: dict[str, bool]
) -> None:
    troubled = replace(
        statistics("street", "yard"), troubles=(Trouble(source, kind, None, ""),)
    )
    assert troubled.listening() == listening
