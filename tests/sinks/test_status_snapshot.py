"""The sentence about the status of the monitor."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.records import HealthKind
from monitor.statistics import (
    FRESH_SECONDS,
    Levels,
    SourceStatistics,
    Statistics,
    Trouble,
)
from tests.support.status import FakeMonitor
from tests.support.timed import statistics


@pytest.fixture
def monitor(tmp_path: Path) -> FakeMonitor:
    return FakeMonitor(tmp_path)


def with_source(made: Statistics, **changes: object) -> Statistics:
    (source,) = made.sources
    changed: SourceStatistics = replace(source, **changes)  # type: ignore[arg-type]
    return replace(made, sources=(changed,))


def test_a_monitor_that_listens_names_its_sources(monitor: FakeMonitor) -> None:
    monitor.report("street", "yard")
    assert monitor.snapshot.is_listening
    assert monitor.snapshot.sentence == "listening to street, yard"
    monitor.report("a", "b", "c", "d")
    assert monitor.snapshot.sentence == "listening to all 4 sources"


def test_before_the_first_step_it_does_not_listen(monitor: FakeMonitor) -> None:
    monitor.clock.advance(7)
    assert not monitor.snapshot.is_listening
    assert monitor.snapshot.sentence == (
        "nothing has been analysed yet, 7.0 s after the start"
    )


def test_a_worker_that_hangs_is_reported(monitor: FakeMonitor) -> None:
    monitor.report()
    monitor.clock.advance(FRESH_SECONDS - 1)
    assert monitor.snapshot.is_listening
    monitor.clock.advance(1)
    assert not monitor.snapshot.is_listening
    assert monitor.snapshot.sentence == (
        "the analysis hangs: it has not moved for 15.0 s"
    )


def test_a_source_that_waits_is_named_with_the_reason(
    monitor: FakeMonitor,
) -> None:
    gone = "rtsp://me:secret@cam/ ended"
    made = with_source(statistics("yard"), state="waiting", detail=gone)
    monitor.tracker.report(made)
    assert not monitor.snapshot.is_listening
    assert monitor.snapshot.sentence == (
        "not listening to yard (waiting: rtsp://***@cam/ ended)"
    )


def test_a_source_that_delivers_nothing_is_reported_whatever_its_state(
    monitor: FakeMonitor,
) -> None:
    silent_since = monitor.clock.utc()
    made = with_source(
        monitor.report(), last_sample=silent_since, level=Levels(-40.0, 40.0)
    )
    made = with_source(made, idle_seconds=20.0)
    monitor.clock.advance(20)
    monitor.tracker.report(made)
    assert monitor.snapshot.not_listening == ["street"]
    assert "street (no sound has come for 21.0 s)" in monitor.snapshot.sentence
    late = monitor.clock.utc() - timedelta(seconds=1)
    monitor.tracker.report(with_source(made, last_sample=late))
    assert "street (its sound is not analysed)" in monitor.snapshot.sentence


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
def test_troubles_are_named_and_some_mean_that_nothing_is_listened_to(
    monitor: FakeMonitor, kind: HealthKind, source: str, listens: bool, sentence: str
) -> None:
    monitor.report(troubles=(Trouble(source, kind, None, "only zeros"),))
    assert monitor.snapshot.is_listening == listens
    assert monitor.snapshot.sentence == sentence
