"""The sentence of the status document: what is wrong, and what is muted."""

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.records import HealthKind
from monitor.statistics import (
    FRESH_SECONDS,
    Levels,
    Loss,
    SourceStatistics,
    Statistics,
    Trouble,
)
from monitor.text import utc_text
from tests.support.status import FakeMonitor
from tests.support.timed import statistics


@pytest.fixture
def monitor(tmp_path: Path) -> FakeMonitor:
    return FakeMonitor(tmp_path)


def with_source(made: Statistics, **changes: object) -> Statistics:
    (source,) = made.sources
    changed: SourceStatistics = replace(source, **changes)
    return replace(made, sources=(changed,))


def test_a_monitor_that_listens_names_its_sources(monitor: FakeMonitor) -> None:
    monitor.report("street", "yard")
    assert monitor.snapshot["listening"]
    assert monitor.snapshot["sentence"] == "listening to street, yard"
    monitor.report("a", "b", "c", "d")
    assert monitor.snapshot["sentence"] == "listening to all 4 sources"


def test_a_machine_that_is_too_slow_is_named_as_the_reason(
    monitor: FakeMonitor,
) -> None:
    monitor.tracker.report(with_source(statistics("street"), left_out=0.312))
    assert monitor.snapshot["listening"]
    assert monitor.snapshot["sentence"] == (
        "listening to street; this machine is too slow: windows are left out "
        "(31.20 % of street in the latest minute)"
    )


def test_a_recording_that_is_over_is_not_listened_to(monitor: FakeMonitor) -> None:
    over = with_source(statistics("tape"), state="ended").sources
    live = statistics("yard")
    monitor.tracker.report(replace(live, sources=(*over, *live.sources)))
    assert monitor.snapshot["listening"]
    assert monitor.snapshot["sentence"] == "listening to yard"


def test_before_the_first_step_it_does_not_listen(monitor: FakeMonitor) -> None:
    monitor.clock.advance(7)
    assert not monitor.snapshot["listening"]
    assert monitor.snapshot["sentence"] == (
        "nothing has been analysed yet, 7.0 s after the start"
    )


def test_a_worker_that_hangs_is_reported(monitor: FakeMonitor) -> None:
    monitor.report()
    monitor.clock.advance(FRESH_SECONDS - 1)
    assert monitor.snapshot["listening"]
    monitor.clock.advance(1)
    assert not monitor.snapshot["listening"]
    assert monitor.snapshot["sentence"] == (
        "the analysis hangs: it has not moved for 15.0 s"
    )


def test_a_source_that_waits_is_named_with_the_reason(monitor: FakeMonitor) -> None:
    gone = "rtsp://me:secret@cam/ ended"
    made = with_source(statistics("yard"), state="waiting", detail=gone)
    monitor.tracker.report(made)
    assert not monitor.snapshot["listening"]
    assert monitor.snapshot["sentence"] == (
        "not listening to yard (waiting: rtsp://***@cam/ ended)"
    )


def test_a_source_that_delivers_nothing_is_reported_whatever_its_state(
    monitor: FakeMonitor,
) -> None:
    made = with_source(
        monitor.report(),
        level=Levels(-40.0, 40.0),
        idle_seconds=20.0,
        silent_seconds=20.0,
    )
    monitor.tracker.report(made)
    assert not monitor.snapshot["listening"]
    assert "street (no sound has come for 20.0 s)" in monitor.snapshot["sentence"]
    monitor.tracker.report(with_source(made, silent_seconds=1.0))
    assert "street (its sound is not analysed)" in monitor.snapshot["sentence"]
    monitor.tracker.report(with_source(made, silent_seconds=1.0, is_losing=True))
    assert "too short between losses" in monitor.snapshot["sentence"]


@pytest.mark.parametrize(
    ("kind", "source", "listens", "sentence"),
    [
        (
            "clipping",
            "street",
            True,
            "listening to street; trouble: clipping at street",
        ),
        ("disk", "*", True, "listening to street; trouble: disk"),
        ("digital-silence", "street", False, "not listening to street (only zeros)"),
        ("canary", "*", False, "not listening to street (only zeros)"),
    ],
)
def test_troubles_are_named_and_some_mean_that_a_source_is_not_listened_to(
    monitor: FakeMonitor, kind: HealthKind, source: str, listens: bool, sentence: str
) -> None:
    monitor.report(troubles=(Trouble(source, kind, None, "only zeros"),))
    assert monitor.snapshot["listening"] == listens
    assert monitor.snapshot["sentence"] == sentence


def test_a_source_of_which_every_sample_is_invalid_says_so(
    monitor: FakeMonitor,
) -> None:
    never = {"idle_seconds": math.inf, "silent_seconds": math.inf}
    made = with_source(monitor.report(), **never)
    monitor.tracker.report(with_source(made, losses=(Loss("invalid", 1, 44_100),)))
    assert "street (its samples are invalid" in monitor.snapshot["sentence"]
    monitor.tracker.report(made)
    assert "street (no sound has come yet)" in monitor.snapshot["sentence"]


def test_muted_rules_are_no_trouble_but_the_sentence_has_them(
    monitor: FakeMonitor,
) -> None:
    monitor.report()
    until = utc_text(monitor.clock.utc() + timedelta(hours=50, minutes=3))
    monitor.mutes = [{"rule": "sirens", "until": until, "withheld": 2}]
    assert monitor.snapshot["sentence"] == (
        "listening to street; muted: sirens (2d 02h)"
    )
    assert monitor.snapshot["listening"]
