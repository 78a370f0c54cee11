"""`alerts` tests endpoints, and lists and changes the alerts of the outbox."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.commands.app import run_command_line
from monitor.sinks.alerts.alert import Attempt
from monitor.sinks.alerts.body import render
from monitor.sinks.alerts.outbox import Outbox, write_alerts
from monitor.sinks.store.database import transaction
from tests.support.alerts import SECRET, alert
from tests.support.endpoint import running_endpoint, status, unused_port
from tests.support.store import open_database

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder with four alerts: one delivered, one dead."""
    database = open_database(tmp_path / "monitor.db")
    connection = database.connect()
    with transaction(connection):
        write_alerts(connection, [alert(n, created=NOW) for n in range(4)])
    connection.close()
    outbox = Outbox(database)
    for number, state in ((0, "delivered"), (1, "dead")):
        (entry,) = outbox.find(alert(number).id)
        outcome = Attempt(NOW, state, f"because it is {state}", 0.1)
        after = replace(entry, state=state, attempts=1, last_error=outcome.detail)
        outbox.record(after, outcome)
    outbox.close()
    return tmp_path


def run(folder: Path, *arguments: str, alerts: Any = None) -> int:
    config = folder / "config.yaml"
    config.write_text(json.dumps({"state_dir": str(folder), "alerts": alerts}))
    return run_command_line(["alerts", *arguments, "--config", str(config)])


def states(folder: Path) -> list[str]:
    outbox = Outbox(open_database(folder / "monitor.db"))
    found = [entry.state for entry in outbox.entries()]
    outbox.close()
    return found


def test_list_shows_the_outbox(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert run(folder, "list", "--state", "dead", "--json") == 0
    (dead,) = json.loads(capsys.readouterr().out)
    assert dead["id"] == alert(1).id
    assert dead["last_error"] == "because it is dead"
    assert run(folder, "list", "--rule", "other", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_show_prints_every_attempt_and_the_body(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "show", alert(1).id[:10], "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["body"] == alert(1).body
    assert [attempt["detail"] for attempt in shown["tries"]] == ["because it is dead"]
    assert run(folder, "show", alert(1).id) == 0
    assert "because it is dead" in capsys.readouterr().out


def test_retry_makes_dead_alerts_pending(folder: Path) -> None:
    assert run(folder, "retry", alert(1).id) == 0
    assert states(folder) == ["delivered", "pending", "pending", "pending"]
    assert run(folder, "retry", alert(0).id) == 1  # it was delivered


def test_drop_cancels_pending_and_dead_alerts(folder: Path) -> None:
    assert run(folder, "drop", alert(2).id) == 0
    assert states(folder) == ["delivered", "dead", "dropped", "pending"]
    assert run(folder, "drop", "--rule", "siren") == 0
    assert states(folder) == ["delivered", "dropped", "dropped", "dropped"]
    assert run(folder, "retry", "--state", "dropped") == 0
    assert states(folder) == ["delivered", "pending", "pending", "pending"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "zzz"], 1, "there is no alert 'zzz'"),
        (["drop"], 2, "give the ids of alerts"),
        (["retry", ""], 1, "several ids begin with ''"),
        (["test"], 2, "the configuration has no alerts"),
    ],
)
def test_a_wrong_choice_is_reported_in_a_sentence(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert run(folder, *arguments) == code
    assert message in capsys.readouterr().err


def test_a_missing_database_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "list") == 1
    assert "there is no database yet" in capsys.readouterr().err


def test_a_test_reaches_every_endpoint_and_reports_what_fails(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    with running_endpoint() as good, running_endpoint(status(401)) as bad:
        rules = [
            {
                "name": "good",
                "webhook": {"url": good.url, "secret": "env:WEBHOOK_SECRET"},
                "command": ["true"],
            },
            {"name": "bad", "webhook": {"url": bad.url}},
            {"name": "dead", "webhook": {"url": f"http://localhost:{unused_port()}"}},
        ]
        assert run(tmp_path, "test", "--json", alerts=rules) == 1
        results = json.loads(capsys.readouterr().out)
        assert "WEBHOOK_SECRET" not in os.environ, "programs would inherit it"
        monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
        assert run(tmp_path, "test", "good/webhook", alerts=rules) == 0
        assert run(tmp_path, "test", "sirens", alerts=rules) == 2
    assert {each["endpoint"]: each["outcome"] for each in results} == {
        "good/webhook": "arrived",
        "good/command": "arrived",
        "bad/webhook": "FAILED",
        "dead/webhook": "FAILED",
    }
    body = json.loads(good.requests[0].body)
    assert (body["kind"], body["rule"]) == ("test", "good")
    template = "$label at $source, score $peak_score"
    assert render(template, "text/plain", body) == "test at test, score 0.9"
    assert len({request.headers["webhook-id"] for request in good.requests}) == 2
