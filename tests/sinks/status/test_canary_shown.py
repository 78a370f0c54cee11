"""What status says of the canary."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.commands.status import print_vital_signs
from monitor.sinks.status_document import document
from monitor.statistics import CanaryResult
from tests.support.vitals import Patient


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def sang(patient: Patient) -> CanaryResult:
    at = patient.clock.utc()
    return CanaryResult("yard", at, True, "", "siren", 0.97654, 5.04)


def shown(patient: Patient, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_vital_signs(document(patient.snapshot))
    return [line for line in capsys.readouterr().out.splitlines() if "canary" in line]


def test_other_programs_read_it_beside_its_source(patient: Patient) -> None:
    patient.hear("street", "yard", canary=(sang(patient),))
    street, yard = json.loads(json.dumps(document(patient.snapshot)))["sources"]
    assert street["canary"] is None
    assert yard["canary"] == {
        "time": "2026-03-01T12:00:00.000Z",
        "ok": True,
        "detail": "",
        "label": "siren",
        "score": 0.9765,
        "seconds": 5.0,
    }


def test_people_read_when_it_came_out_or_why_not(
    patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    patient.hear("street", "yard", canary=(sang(patient),))
    came = "yard: canary: siren came out 1.0 s ago, score 0.98"
    assert shown(patient, capsys) == [came]
    why = "siren scored 0.02 at the most"
    fell_silent = replace(sang(patient), ok=False, detail=why)
    patient.hear("street", "yard", canary=(fell_silent,))
    assert shown(patient, capsys) == [f"yard: canary: failed 1.0 s ago: {why}"]
    only_network = replace(sang(patient), label=None, score=None)
    patient.hear("street", "yard", canary=(only_network,))
    computed = "yard: canary: the model computed what it must 1.0 s ago"
    assert shown(patient, capsys) == [computed]
