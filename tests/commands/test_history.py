"""The commands `events`, `report`, `replay` and `forget`."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from monitor.commands.app import run_command_line
from monitor.sinks.encoding import KEYS, encode
from tests.support.clock import FakeClock
from tests.support.health import trouble
from tests.support.store import make_store, rows, score_frames
from tests.support.timed import OPENED, event, gap, onset

DAY = "2026-11-23"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TZ", "UTC")
    clock = FakeClock()
    clock.wall = OPENED
    store = make_store(tmp_path / "state" / "monitor.db", clock)
    store.write(
        [
            event(number=1, start_seconds=10, seconds=5),
            event(number=2, label="dog_bark", start_seconds=20, source="yard"),
            onset(number=3, label="drilling", start_seconds=30),
            gap(start_seconds=50),
            *score_frames(60),
        ]
    )
    store.close()
    path = tmp_path / "config.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run_command_line([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = run_command_line([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


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
    assert found == encode(event(number=1, start_seconds=10, seconds=5))


def test_events_are_csv(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "events", "--config", config, "--csv", "--source", "yard")
    (found,) = csv.DictReader(out.splitlines())
    assert set(found) == set(KEYS) - {"schema", "top"}
    assert found["label"] == "dog_bark"


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


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["events", "--json", "--csv"], "choose one"),
        (["events", "--since", "soon"], "--since: 'soon' is not a time"),
        (["events", "--since", "1h", "--until", "2h"], "is not after"),
        (["report", "someday"], "is not a day"),
        (["forget"], "give --since TIME or --all"),
        (["forget", "--all", "--since", "1h"], "give --since TIME or --all"),
    ],
)
def test_wrong_usage_is_one_sentence(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    code, err = fails(capsys, *arguments, "--config", config)
    assert code == 2
    assert complaint in err


@pytest.mark.parametrize("arguments", [["events"], ["report"], ["replay"]])
def test_a_missing_database_is_one_sentence_and_not_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\n")
    code, err = fails(capsys, *arguments, "--config", config)
    assert (code, "there is no database" in err) == (1, True)
    assert not (tmp_path / "state").exists()
    config.write_text("store: {path: null}\n")
    code, err = fails(capsys, *arguments, "--config", config)
    assert (code, "store.path is null" in err) == (2, True)


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


def test_scores_of_another_model_are_not_replayed(
    config: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with config.open("a") as file:
        file.write(f"model: {{file: {model_file}}}\n")
    code, err = fails(capsys, "replay", "--config", config)
    assert code == 1
    assert "of the model 'urban', and the configuration names 'seeded'" in err


def test_replay_counts_events_that_stay_come_and_go(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *rows, empty, counts = run(capsys, "replay", "--config", config).splitlines()
    assert rows[0].split()[:3] == ["CHANGE", "START", "SOURCE"]
    assert {row.split()[0] for row in rows[1:]} == {"goes"}
    assert empty == ""
    assert "0 stay, 0 come, 3 go (60 score frames)" in counts
    out = run(capsys, "replay", "--config", config, "--json")
    changes = [json.loads(line) for line in out.splitlines()]
    assert [each["event"]["label"] for each in changes] == [
        "siren",
        "dog_bark",
        "drilling",
    ]


def test_forget_counts_deleted_records(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = config.parent / "state"
    (state / "events.jsonl").write_text("a line\n")
    (state / "monitor.db.damaged-20260101T000000Z").write_text("")
    out = run(capsys, "forget", "--all", "--config", config)
    assert "deleted: 3 events, 1 gap, 60 score frames, 0 alerts, from 2026" in out
    assert "event log: 1 line\n" in out
    assert "1 file of damaged databases" in out
    assert rows(state / "monitor.db", "SELECT count(*) FROM events") == [0]
    assert (state / "events.jsonl").read_text() == ""
    facts = json.loads(run(capsys, "forget", "--all", "--config", config, "--json"))
    assert facts["events"] == 0


def test_forget_reaches_event_log_and_clips_where_there_is_no_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    config = tmp_path / "config.yaml"
    config.write_text(f"state_dir: {state}\nstore: {{path: null}}\n")
    code, err = fails(capsys, "forget", "--all", "--config", config)
    assert (code, "nothing is stored in" in err) == (1, True)
    (state / "clips").mkdir(parents=True)
    (state / "clips" / "20261123T073000.000Z_street_siren.flac").write_bytes(b"fLaC")
    (state / "events.jsonl").write_text("a line\n")
    out = run(capsys, "forget", "--all", "--config", config)
    assert "deleted: nothing" in out
    assert "event log: 1 line\n" in out
    assert "deleted: 1 clip\n" in out
    assert (state / "events.jsonl").read_text() == ""
    assert not list((state / "clips").glob("*.flac"))


CLEARED = trouble("cleared", start_seconds=15, seconds=75)


@pytest.fixture
def with_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configuration of a database with health problems."""
    monkeypatch.setenv("TZ", "UTC")
    clock = FakeClock()
    clock.wall = OPENED
    store = make_store(tmp_path / "state" / "monitor.db", clock)
    store.write([event(number=1, start_seconds=10, seconds=5)])
    store.write([trouble(start_seconds=15), CLEARED])
    store.write([event(number=2, start_seconds=20, seconds=5), *score_frames(60)])
    store.write([trouble(kind="deaf", source="yard", start_seconds=30)])
    store.close()
    path = tmp_path / "config.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\n")
    return path


def lines_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    return run(capsys, *arguments).splitlines()


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
    assert json.loads(lines[1]) == encode(CLEARED)
    assert len(lines) == 3


@pytest.mark.parametrize(
    "options", [["--label", "siren"], ["--min-score", "0"], ["--csv"]]
)
def test_a_choice_of_events_leaves_health_problems_out(
    with_health: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert len(lines_of(capsys, "events", "--config", with_health, *options)) == 3


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


def test_forget_counts_health_problems(
    with_health: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line, *_) = lines_of(capsys, "forget", "--all", "--config", with_health)
    assert "2 events, 0 gaps, 2 health problems, 60 score frames" in line
    assert lines_of(capsys, "events", "--config", with_health) == ["no events"]
