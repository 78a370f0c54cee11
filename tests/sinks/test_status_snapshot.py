"""What is said of the monitor in one sentence."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.records import HealthKind
from monitor.sinks.status_snapshot import FRESH_SECONDS
from monitor.statistics import Levels, SourceStatistics, Statistics, Trouble
from tests.support.timed import statistics
from tests.support.vitals import Patient


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def with_source(told: Statistics, **changes: object) -> Statistics:
    (source,) = told.sources
    changed: SourceStatistics = replace(source, **changes)  # type: ignore[arg-type]
    return replace(told, sources=(changed,))


def test_a_monitor_that_listens_says_to_what(patient: Patient) -> None:
    patient.hear("street", "yard")
    assert patient.snapshot.is_listening
    assert patient.snapshot.sentence == "listening to street, yard"
    patient.hear("a", "b", "c", "d")
    assert patient.snapshot.sentence == "listening to all 4 sources"


def test_before_the_first_step_it_does_not_listen(patient: Patient) -> None:
    patient.clock.advance(7)
    assert not patient.snapshot.is_listening
    assert patient.snapshot.sentence == (
        "nothing has been analysed yet, 7.0 s after the start"
    )


def test_a_worker_that_hangs_is_told(patient: Patient) -> None:
    patient.hear()
    patient.clock.advance(FRESH_SECONDS - 1)
    assert patient.snapshot.is_listening
    patient.clock.advance(1)
    assert not patient.snapshot.is_listening
    assert patient.snapshot.sentence == (
        "the analysis hangs: it has not moved for 15.0 s"
    )


def test_a_source_that_is_waited_for_is_told_with_the_reason(patient: Patient) -> None:
    gone = "rtsp://me:secret@cam/ ended"
    told = with_source(statistics("yard"), state="waiting", detail=gone)
    patient.vitals.report(told)
    assert not patient.snapshot.is_listening
    assert patient.snapshot.sentence == (
        "not listening to yard (waiting: rtsp://***@cam/ ended)"
    )


def test_a_source_that_claims_to_listen_and_delivers_nothing_is_told(
    patient: Patient,
) -> None:
    silent_since = patient.clock.utc()
    told = with_source(
        patient.hear(), last_sample=silent_since, level=Levels(-40.0, 40.0)
    )
    told = with_source(told, idle_seconds=20.0)
    patient.clock.advance(20)
    patient.vitals.report(told)
    assert patient.snapshot.deaf == ("street",)
    assert "street (no sound has come for 21.0 s)" in patient.snapshot.sentence
    late = patient.clock.utc() - timedelta(seconds=1)
    patient.vitals.report(with_source(told, last_sample=late))
    assert "street (its sound is not analysed)" in patient.snapshot.sentence


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
def test_trouble_is_told_and_what_deafens_is_no_listening(
    patient: Patient, kind: HealthKind, source: str, listens: bool, sentence: str
) -> None:
    patient.hear(troubles=(Trouble(source, kind, None, "only zeros"),))
    assert patient.snapshot.is_listening == listens
    assert patient.snapshot.sentence == sentence
