"""`events` lists events and health problems, as a table, JSON or CSV."""

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.sinks.encoding import KEYS, encode
from monitor.sinks.store import queries
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.reviews import write_lock, write_verdict
from monitor.text import utc_text
from tests.support.commands import lines_of, run
from tests.support.health import trouble
from tests.support.timed import OPENED, event


def test_events_are_a_table(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, *lines = run(capsys, "events", "--config", config).splitlines()
    assert header.split()[:4] == ["START", "SOURCE", "LABEL", "DURATION"]
    assert len(lines) == 3
    assert "siren" in lines[0]
    assert "5.0 s" in lines[0]
    assert lines[2].endswith("going on")


def test_events_are_json_in_the_form_of_the_event_log(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "events", "--config", config, "--label", "siren", "--json")
    (found,) = [json.loads(line) for line in out.splitlines()]
    encoded = encode(event(number=1, start_seconds=10, seconds=5)) or {}
    assert found == {**encoded, "review": None}


def test_events_are_csv(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "events", "--config", config, "--csv", "--source", "yard")
    (found,) = csv.DictReader(out.splitlines())
    assert set(found) == set(KEYS) - {"schema", "top"}
    assert found["label"] == "dog_bark"


def test_no_name_is_a_formula_in_csv(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(config.parent / "state" / "monitor.db")
    with closing(database.connect()) as connection:
        connection.execute("UPDATE events SET label = '=1+1', peak_score = -1")
    out = run(capsys, "events", "--config", config, "--csv")
    first, *_ = csv.DictReader(out.splitlines())
    assert (first["label"], first["peak_score"]) == ("'=1+1", "-1.0")


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--since", "1970-01-01"], 3),
        (["--until", "2026-11-23T05:56:15Z"], 1),
        (["--since", "2026-11-23T05:56:28Z", "--until", "2026-11-23T06:00:00Z"], 1),
        (["--label", "siren", "--label", "dog_bark"], 2),
        (["--min-score", "0.931"], 2),
        (["--source", "nowhere"], 0),
    ],
)
def test_events_can_be_chosen(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    count: int,
) -> None:
    out = run(capsys, "events", "--config", config, "--json", *arguments)
    assert len(out.splitlines()) == count


def test_verdicts_are_shown_and_chosen_by(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(config.parent / "state" / "monitor.db")
    ids = ["session-street-1", "session-yard-2"]
    with closing(database.connect()) as connection, transaction(connection):
        write_verdict(connection, ids[:1], "wrong", None, now=OPENED)
        write_lock(connection, ids, locked=True, now=OPENED)
    chosen = {
        verdict: [
            json.loads(line)["id"]
            for line in lines_of(
                capsys, "events", "--config", config, "--verdict", verdict, "--json"
            )
        ]
        for verdict in ("wrong", "right", "any", "none")
    }
    assert chosen == {
        "wrong": ids[:1],
        "right": [],
        "any": ids[:1],
        "none": [ids[1], "session-street-3"],
    }
    first, *_ = lines_of(capsys, "events", "--config", config, "--json")
    assert json.loads(first)["review"] == {
        "verdict": "wrong",
        "label": None,
        "locked": True,
        "time": utc_text(OPENED),
    }


def test_a_level_has_the_unit_of_its_time(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The offset was set after the first event; the others are of an old version."""
    config.write_text(
        config.read_text() + "sources: [{name: street, input: 'demo:', "
        "level_offset_db: 94}]\n"
    )
    with sqlite3.connect(config.parent / "state" / "monitor.db") as connection:
        connection.execute("UPDATE events SET level_offset_db = 0 WHERE sequence = 1")
    connection.close()
    header, first, _, third = lines_of(capsys, "events", "--config", config)
    assert "DB(A)" in header
    assert "63.3 dBFS(A)" in first
    assert "dBFS" not in third


def test_health_problems_stand_between_events(
    with_health: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, *lines = lines_of(capsys, "events", "--config", with_health)
    assert [line.split()[3] for line in lines] == [
        "siren",
        "(clipping)",
        "siren",
        "(deaf)",
    ]
    assert "1m 15s" in lines[1]
    assert lines[1].endswith("cleared")
    assert lines[3].endswith("going on")


def test_health_problems_are_json_in_the_form_of_the_event_log(
    with_health: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(
        capsys, "events", "--config", with_health, "--json", "--source", "street"
    )
    cleared = trouble("cleared", start_seconds=15, seconds=75)
    assert json.loads(lines[1]) == encode(cleared)
    assert len(lines) == 3


@pytest.mark.parametrize(
    "options", [["--label", "siren"], ["--min-score", "0"], ["--csv"]]
)
def test_a_choice_of_events_leaves_health_problems_out(
    with_health: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert len(lines_of(capsys, "events", "--config", with_health, *options)) == 3


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_an_output_that_nobody_reads_does_not_hold_the_database(
    config: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """While one reads, the log of what the monitor writes grows."""
    closed: list[bool] = []
    opened = queries.open_to_read

    @contextmanager
    def noted(path: Path) -> Iterator[queries.Reader]:
        with opened(path) as reader:
            yield reader
        closed.append(True)

    class Output(io.StringIO):
        def write(self, text: str) -> int:
            assert closed, "written while the database is open"
            return super().write(text)

    monkeypatch.setattr("monitor.sinks.store.queries.open_to_read", noted)
    monkeypatch.setattr("sys.stdout", output := Output())
    assert run_command_line(["events", "--config", str(config), form]) == 0
    assert output.getvalue()
