"""`report` prints a day as a page or as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import lines_of, run

DAY = "2026-11-23"


def test_a_report_is_a_page(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "report", DAY, "--config", config)
    assert out.startswith("Monday, 23 November 2026: ")
    for part in ("LISTENED", "street", "unplugged 2.3 s", "siren", "dog_bark", "52.1"):
        assert part in out


def test_a_report_is_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts: Any = json.loads(run(capsys, "report", DAY, "--config", config, "--json"))
    assert facts["day"] == DAY
    street = facts["sources"]["street"]
    assert 35 < street["listened_seconds"] < 38
    assert street["listened_share"] > 0
    assert street["laeq_db"] == 52.1
    assert facts["labels"]["siren"]["events"] == 1
    assert len(facts["events"]) == 3


def test_a_day_without_records_is_an_empty_report(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "report", "2026-01-01", "--config", config)
    assert "No source was captured." in out
    assert "No events." in out
    json.loads(run(capsys, "report", "2026-01-01", "--config", config, "--json"))


def test_the_report_has_a_line_for_each_health_problem(
    with_health: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(capsys, "report", "2026-11-23", "--config", with_health)
    (found,) = [line for line in lines if "clipping" in line]
    assert "1m 15s" in found
    assert found.endswith("turn the gain down")
    text = "".join(
        lines_of(capsys, "report", "2026-11-23", "--json", "--config", with_health)
    )
    assert [each["kind"] for each in json.loads(text)["health"]] == ["clipping", "deaf"]
