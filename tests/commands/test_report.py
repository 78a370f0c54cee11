"""`report` prints a day as a page or as JSON."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.status_socket import StatusSocket
from monitor.web.app import build_app
from tests.support.clock import FakeClock, wait_until
from tests.support.commands import fails, lines_of, run
from tests.support.levels import minutes, store_levels
from tests.support.status import FakeMonitor
from tests.support.store import make_store
from tests.support.timed import statistics
from tests.support.web import WebClient, make_context

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
    assert 36 < street["listened_seconds"] < 37
    assert street["listened_share"] > 0
    assert street["laeq_db"] == 52.1
    assert facts["labels"]["siren"]["events"] == 1
    assert len(facts["events"]) == 3


def test_a_day_without_records_is_an_empty_report(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "report", "2026-01-01", "--config", config)
    assert "No levels were measured." in out
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


def test_a_report_has_levels(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nine = datetime(2026, 11, 23, 9, tzinfo=UTC)
    store_levels(config.parent / "state" / "monitor.db", minutes(nine, 120, 60.0))
    text = run(capsys, "report", DAY, "--config", config, "--json")
    levels = json.loads(text)["levels"]["street"]
    assert levels["unit"] == "dB(A)"
    assert levels["lden_db"] is None
    by_hour = {it["hour"]: it["laeq_db"] for it in levels["hours"]}
    assert (by_hour[8], by_hour[9], by_hour[11]) == (None, 60.0, None)
    assert "LDEN" in run(capsys, "report", DAY, "--config", config)


def test_a_diary_has_incidents_and_what_was_not_listened_to(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = run(capsys, "report", DAY, "--diary", "--config", config)
    for part in ("siren", "dog_bark", "dBFS(A)", "the monitor did not run", "05:56"):
        assert part in out
    only = run(capsys, "report", DAY, "--diary", "--config", config, "--label", "siren")
    assert "dog_bark" not in only
    facts = json.loads(
        run(capsys, "report", DAY, "--diary", "--json", "--config", config)
    )
    assert {it["label"] for it in facts["incidents"]} >= {"siren", "dog_bark"}
    file = tmp_path / "diary.csv"
    run(
        capsys, "report", DAY, "--diary", "--days", 7, "--csv", file, "--config", config
    )
    assert "dog_bark" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--csv", "x.csv"], "add --diary"),
        (["--pause", "3"], "add --diary"),
        (["--diary", "--csv", "/nowhere/x.csv"], "cannot be written"),
    ],
)
def test_a_diary_that_cannot_be_written_is_refused_in_a_sentence(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    code, error = fails(capsys, "report", DAY, *arguments, "--config", config)
    assert code in (1, 2)
    assert sentence in error


def test_a_day_to_come_has_no_report(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = fails(capsys, "report", "2999-01-01", "--config", config)
    assert (code, error) == (2, "sound-monitor: report: 2999-01-01 lies ahead\n")


@pytest.mark.parametrize("source", ["street", "new"])
def test_an_outage_that_goes_on_is_in_the_report_as_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    """The database has neither its gap nor, of a source that is new, any sound."""
    config, state = tmp_path / "config.yaml", tmp_path / "state"
    config.write_text(f"state_dir: {state}\n")
    clock = FakeClock()
    clock.wall = datetime.now(UTC) - timedelta(hours=2)
    store = make_store(state / "monitor.db", clock)
    monitor = FakeMonitor(state)
    monitor.daemon.began, monitor.clock.wall = clock.wall, datetime.now(UTC)
    (never,) = statistics(source).sources
    socket = StatusSocket(monitor.tracker, state / "status.sock")
    never = replace(never, state="waiting", last_sample=None)
    socket.report(monitor.report(sources=(never,)))
    wait_until((state / "status.sock").exists)
    day = str(datetime.now(UTC).date())
    line = ("report", day, "--config", config)
    try:
        run(capsys, *line, "--diary", "--csv", tmp_path / "diary.csv")
        table = WebClient(build_app(make_context(state))).get(
            f"/diary.csv?from={day}&to={day}"
        )
        facts = json.loads(run(capsys, *line, "--json"))
    finally:
        socket.close()
        store.close()
    ours, theirs = (
        [
            row
            for row in csv.DictReader(text.splitlines())
            if row["reason"] not in ("", "off")
        ]
        for text in ((tmp_path / "diary.csv").read_text(), table.text)
    )
    assert [(row["source"], row["reason"]) for row in ours] == [(source, "stalled")]
    assert [row["start"] for row in ours] == [row["start"] for row in theirs]
    lost = facts["sources"][source]["lost_seconds"]["stalled"]
    assert lost == pytest.approx(float(theirs[0]["duration_seconds"]), abs=30)
