"""What counts as listening."""

from dataclasses import replace

import pytest

from monitor.records import HealthKind, SourceStateName
from monitor.sinks.status_snapshot import FRESH_SECONDS, Listening
from monitor.statistics import SourceStatistics, Statistics, Trouble
from tests.support.timed import samples, statistics


def one(
    source: str,
    captured: float,
    state: SourceStateName = "listening",
    backlog: float = 0,
) -> SourceStatistics:
    (each,) = statistics(source, captured_seconds=captured, state=state).sources
    return replace(each, backlog_samples=samples(backlog))


def told(*sources: SourceStatistics) -> Statistics:
    return replace(statistics(), sources=sources)


def test_a_source_is_listened_to_while_samples_come_and_are_taken() -> None:
    listening = Listening()
    assert not listening.is_enough(0, "any")
    listening.report(told(one("street", 1)), 100)
    assert listening.is_enough(100 + FRESH_SECONDS - 1, "all")
    assert not listening.is_enough(100 + FRESH_SECONDS, "all")
    assert listening.deaf(100 + FRESH_SECONDS) == ["street"]


@pytest.mark.parametrize(
    "later",
    [
        one("street", 60),  # no sample more
        one("street", 80, backlog=20),  # they come, but the worker does not take them
        one("street", 80, "waiting"),
        one("street", 80, "opening"),
        one("street", 80, "ended"),
    ],
)
def test_what_does_not_move_is_not_listened_to(later: SourceStatistics) -> None:
    listening = Listening()
    listening.report(told(one("street", 60)), 0)
    listening.report(told(later), FRESH_SECONDS)
    assert not listening.is_enough(FRESH_SECONDS, "any")


@pytest.mark.parametrize(
    ("yard", "all_listen", "any_listens"),
    [("listening", True, True), ("waiting", False, True), ("ended", True, True)],
)
def test_all_sources_or_any_must_be_listened_to(
    yard: SourceStateName, all_listen: bool, any_listens: bool
) -> None:
    listening = Listening()
    listening.report(told(one("street", 60), one("yard", 60, yard)), 0)
    assert listening.is_enough(1, "all") == all_listen
    assert listening.is_enough(1, "any") == any_listens


def test_a_source_that_begins_anew_is_listened_to_at_once() -> None:
    listening = Listening()
    listening.report(told(one("street", 3600)), 0)
    listening.report(told(one("street", 1)), FRESH_SECONDS)
    assert listening.is_enough(FRESH_SECONDS, "all")


def test_a_source_that_was_taken_away_is_missing_to_nobody() -> None:
    listening = Listening()
    listening.report(told(one("street", 60), one("yard", 0, "waiting")), 0)
    listening.report(told(one("street", 61)), 1)
    assert listening.is_enough(1, "all")


@pytest.mark.parametrize(
    ("source", "kind", "deaf"),
    [
        ("yard", "digital-silence", ["yard"]),
        ("yard", "canary", ["yard"]),
        ("*", "canary", ["street", "yard"]),
        ("yard", "clipping", []),
        ("*", "disk", []),
    ],
)
def test_what_would_hear_nothing_does_not_listen(
    source: str, kind: HealthKind, deaf: list[str]
) -> None:
    listening = Listening()
    trouble = Trouble(source, kind, None, "")
    both = told(one("street", 60), one("yard", 60))
    listening.report(replace(both, troubles=(trouble,)), 0)
    assert listening.deaf(1) == deaf
    listening.report(told(one("street", 61), one("yard", 61)), 1)
    assert listening.deaf(2) == []
