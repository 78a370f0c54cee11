"""Commands are checked, done on the thread of the store, and answered."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.config.config import Config
from monitor.config.load import parse_settings
from monitor.config.overrides import OVERRIDES, Overrides
from monitor.errors import SoundMonitorError
from monitor.runtime.commands import (
    RELOAD_PAUSE_SECONDS,
    CommandContext,
    MonitorCommands,
)
from monitor.runtime.reload import FreshConfig
from monitor.runtime.sensitivity import change_sensitivity
from monitor.sinks.alerts.outbox import write_alerts
from monitor.sinks.status_client import Document, ask_command, server_path
from tests.support.alerts import alert
from tests.support.clock import wait_until
from tests.support.endpoint import ok, running_endpoint, status
from tests.support.live import follow_live
from tests.support.reloading import Running, started
from tests.support.store import rows
from tests.support.timed import event

IDS = [event(number=number).record.id for number in range(1, 4)]
NEVER = {"url": "http://127.0.0.1:9/"}


class Commanded:
    """A monitor with three events, and its commands."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.reloads: list[float] = []
        self.lines: Iterator[Document]
        assert isinstance(running.environment.commands, MonitorCommands)
        self.do = running.environment.commands

    def attach(self, **settings: Any) -> "Commanded":
        self.running.reload(**settings)
        app = self.running.app
        store = app.sinks.store
        assert store is not None
        batch = [event(number=number) for number in range(1, 4)]
        app.sinks.files.ask(lambda: store.write(batch), 10)
        fresh = FreshConfig(app.plan.config, self.running.folder)
        self.do.attach(
            CommandContext(app, lambda: self.reloads.append(0), lambda: fresh)
        )
        return self

    @contextmanager
    def configured(self, **settings: Any) -> Iterator[None]:
        """Have another configuration for a moment."""
        app, before = self.running.app, self.running.app.plan
        app.plan = replace(before, config=Config.model_validate(settings))
        yield
        app.plan = before

    @property
    def socket(self) -> Path:
        return server_path(None, self.running.folder, {})

    def query(self, query: str) -> list[Any]:
        return rows(self.running.folder / "monitor.db", query)

    def refusal(self, name: str, **arguments: Any) -> str:
        with pytest.raises(SoundMonitorError) as error:
            self.do(name, arguments)
        return str(error.value)


@pytest.fixture(scope="module")
def commanded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commanded]:
    """With a rule, leave to change everything, and a reader of the live feed."""
    with started(tmp_path_factory.mktemp("commanded")) as running:
        commanded = Commanded(running).attach(
            alerts=[{"name": "siren", "webhook": NEVER}],
            web={"may_change": ["mute", "sensitivity"]},
        )
        wait_until(commanded.socket.exists)
        with closing(follow_live(commanded.socket)) as commanded.lines:
            assert next(commanded.lines)["type"] == "hello"
            yield commanded
    running.environment.readers.close()


def test_a_verdict_is_stored_and_its_result_undoes_it(commanded: Commanded) -> None:
    first = commanded.do("review", {"ids": IDS[:2], "verdict": "wrong"})
    assert first["reviewed"] == 2
    label = {"ids": IDS[:1], "verdict": "label", "label": "car horn"}
    second = commanded.do("review", label)
    assert second["before"] == [{"id": IDS[0], "verdict": "wrong", "label": None}]
    query = "SELECT verdict, label FROM reviews ORDER BY event_id"
    assert commanded.query(query) == [("label", "car horn"), ("wrong", None)]
    for before in (second["before"], first["before"]):
        for each in before:
            arguments = {k: each[k] for k in ("verdict", "label")}
            commanded.do("review", {"ids": [each["id"]], **arguments})
    assert commanded.query(query) == []


def test_a_command_waits_for_another_writer_off_the_thread_of_the_store(
    commanded: Commanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = commanded.running.folder / "monitor.db"
    tries: list[float] = []

    def pause(seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 2:
            writer.rollback()

    monkeypatch.setattr("monitor.runtime.commands.sleep", pause)
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        lock = {"ids": IDS, "locked": False}
        assert commanded.do("lock", lock) == {"unlocked": 3}
        assert len(tries) == 2
        monkeypatch.setattr("monitor.runtime.commands.DISK_SECONDS", 0.5)
        writer.execute("BEGIN EXCLUSIVE")
        tries += [0.0] * 2
        assert "database is locked" in commanded.refusal("lock", **lock)


def test_readers_of_the_live_feed_are_told(commanded: Commanded) -> None:
    commanded.do("lock", {"ids": IDS, "locked": True})
    commanded.do("mute", {"rule": "siren", "seconds": 0})
    found: list[tuple[str, list[str]]] = []
    while found[-1:] != [("mute", ["siren"])]:
        line = next(commanded.lines)
        if line["type"] == "changed":
            found.append((line["what"], line["ids"]))
    assert found[-2:] == [("review", list(IDS)), ("mute", ["siren"])]


def test_a_command_comes_over_the_socket(commanded: Commanded) -> None:
    path = commanded.socket
    assert ask_command([path], "reload", {})["seconds"] <= RELOAD_PAUSE_SECONDS
    assert not commanded.reloads, "the answer comes first"
    wait_until(lambda: commanded.reloads)
    assert ask_command([path], "lock", {"ids": IDS, "locked": True}) == {"locked": 3}
    assert ask_command([path], "lock", {"ids": IDS, "locked": False}) == {"unlocked": 3}
    with pytest.raises(SoundMonitorError, match="there is no event 'gone'"):
        ask_command([path], "lock", {"ids": ["gone"], "locked": True})


def test_many_changes_are_few_reloads(
    commanded: Commanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.runtime.commands.RELOADS_APART_SECONDS", 1.5)
    reloads: list[int] = []
    commands = MonitorCommands()
    app = commanded.running.app
    fresh = FreshConfig(app.plan.config, commanded.running.folder)
    commands.attach(CommandContext(app, lambda: reloads.append(0), lambda: fresh))
    for count in (1, 2):
        waits = [commands("reload", {})["seconds"] for _ in range(9)]
        wait_until(lambda count=count: len(reloads) == count)
    assert RELOAD_PAUSE_SECONDS < waits[0] <= 1.5
    assert len(reloads) == 2


def test_a_sensitivity_does_not_change_while_no_reload_can_take_it(
    commanded: Commanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk, where a file can still be deleted."""
    overrides = commanded.running.folder / OVERRIDES
    overrides.write_text("detection: {sensitivity: 0.6}\n")
    reloads = len(commanded.reloads)
    with monkeypatch.context() as patch:
        patch.setattr("monitor.sinks.store.side_files.MIN_FREE_BYTES", 1 << 60)
        for value in (None, 0.7):
            refusal = commanded.refusal("sensitivity", label=None, value=value)
            assert "almost full" in refusal
    assert "0.6" in overrides.read_text()
    assert len(commanded.reloads) == reloads
    overrides.unlink()


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("shutdown", {}, "there is no command 'shutdown'; choose from review, lock"),
    ("review", {}, "review: ids is missing"),
    ("review", {"ids": [], "verdict": "right"}, "review: ids: must be 1 to"),
    ("review", {"ids": "abc", "verdict": "right"}, "review: ids: 'abc' must be a"),
    ("review", {"ids": [7], "verdict": "right"}, "review: ids[0]: 7 must be text"),
    ("review", {"ids": ["x"] * 501, "verdict": None}, "review: ids: must be 1 to"),
    ("review", {"ids": ["x" * 201], "verdict": None}, "review: ids[0]: 'xxx"),
    ("review", {"ids": ["gone"], "verdict": "right"}, "there is no event 'gone'"),
    ("review", {"ids": ["a"], "verdict": "so"}, "review: verdict: 'so' must be"),
    ("review", {"ids": ["a"], "verdict": "label"}, "review: label must be given"),
    (
        "review",
        {"ids": ["a"], "verdict": "right", "label": "siren"},
        "review: label must be given with the verdict label",
    ),
    *(
        (
            "review",
            {"ids": ["a"], "verdict": "label", "label": label},
            f"review: label cannot be a name: {problem}",
        )
        for label, problem in (
            (" siren", "it begins with a space"),
            ("siren ", "it ends with a space"),
            ("-rf", "it begins with '-'"),
            ("=1+1", "it begins with '='"),
            ("si\u202eren", "it holds '\\u202e'"),
            ("x" * 64, "it has 64 characters"),
        )
    ),
    ("review", {"ids": ["a"], "verdict": None, "by": "ann"}, "review: by: "),
    ("review", {"ids": ["a"], "verdict": None, "path": "/"}, "review: path: there"),
    ("lock", {"ids": ["a"], "locked": 1}, "lock: locked: 1 must be true or false"),
    ("mute", {"rule": "dog", "seconds": 5}, "there is no rule 'dog'; choose from"),
    ("mute", {"rule": "siren", "seconds": -1}, "mute: seconds: -1 must be at leas"),
    ("mute", {"rule": "siren", "seconds": 1e9}, "mute: seconds: 1000000000.0 must"),
    ("alert_retry", {"id": "gone"}, "there is no alert 'gone'"),
    ("alert_test", {"endpoint": "a/b"}, "there is no endpoint 'a/b'; choose from"),
    ("sensitivity", {"label": None, "value": 2}, "sensitivity: value: 2 must be "),
    ("sensitivity", {"value": 0.5}, "sensitivity: label is missing"),
    ("reload", {"now": True}, "reload: now: there is no such setting"),
]


def test_bad_arguments_are_answered_in_a_sentence(commanded: Commanded) -> None:
    for name, arguments, sentence in BAD:
        refusal = commanded.refusal(name, **arguments)
        assert refusal.startswith(sentence), f"{name} {arguments}"
        assert "\n" not in refusal


def test_what_the_operator_has_not_allowed_is_refused(commanded: Commanded) -> None:
    with commanded.configured():
        for name, arguments in (
            ("mute", {"rule": "siren", "seconds": 60}),
            ("sensitivity", {"label": None, "value": 0.6}),
        ):
            assert commanded.refusal(name, **arguments) == (
                "web.may_change of the configuration does not allow this: add " + name
            )


def test_a_rule_is_muted_on_the_disk_and_in_the_status(commanded: Commanded) -> None:
    before = datetime.now(UTC)
    result = commanded.do("mute", {"rule": "siren", "seconds": 3600})
    until = datetime.fromisoformat(result["until"])
    assert abs(until - before - timedelta(hours=1)) < timedelta(seconds=9)
    assert result["stored"]
    (state,) = commanded.query("SELECT state FROM rule_state")
    assert '"seconds": 3600' in state
    alerting = commanded.running.app.plan.alerting
    assert alerting is not None
    (mute,) = alerting.mutes
    assert mute == {"rule": "siren", "until": result["until"], "withheld": 0}
    assert commanded.do("mute", {"rule": "siren", "seconds": 0})["until"] is None
    assert not alerting.mutes


def test_an_alert_is_dropped_and_sent_again(commanded: Commanded) -> None:
    store = commanded.running.app.sinks.store
    assert store is not None
    one = alert(1, created=datetime.now(UTC))
    commanded.running.app.sinks.files.ask(
        lambda: store.change(lambda connection: write_alerts(connection, [one])), 10
    )
    arguments = {"id": one.id}
    dropped = {"id": one.id, "state": "dropped"}
    assert commanded.do("alert_drop", arguments) == dropped
    refusal = commanded.refusal("alert_drop", **arguments)
    assert refusal == "the alert is dropped and cannot be dropped"
    again = commanded.do("alert_retry", arguments)
    assert again == {"id": one.id, "state": "pending"}
    commanded.do("alert_drop", arguments)


def test_an_endpoint_is_tested(commanded: Commanded) -> None:
    outcomes = []
    with running_endpoint(ok, status(410)) as endpoint:
        hook = {"name": "siren", "webhook": {"url": endpoint.url}}
        with commanded.configured(alerts=[hook]):
            for _ in range(2):
                result = commanded.do("alert_test", {"endpoint": "siren/webhook"})
                assert result["detail"]
                outcomes.append(result["outcome"])
    assert outcomes == ["arrived", "failed"]


def test_a_database_that_cannot_be_written_is_one_sentence(
    commanded: Commanded,
) -> None:
    path = commanded.running.folder / "monitor.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        refusal = commanded.refusal("review", ids=IDS[:1], verdict="right")
    finally:
        holder.close()
    assert refusal == f"database {path} cannot be written: database is locked"
    assert commanded.query("SELECT count(*) FROM reviews") == [0]


def test_before_the_start_no_command_is_done() -> None:
    with pytest.raises(SoundMonitorError, match="still starting"):
        MonitorCommands()("reload", {})


# The sensitivity, with the model in the box.


@pytest.fixture
def overrides(tmp_path: Path) -> Path:
    return tmp_path / OVERRIDES


def change(
    overrides: Path, label: str | None, value: float | None, config: Any = None
) -> None:
    fresh = FreshConfig(Config.model_validate(config or {}), overrides.parent)
    change_sensitivity(fresh, label, value)


def test_a_sensitivity_is_written_for_its_owner_alone(overrides: Path) -> None:
    change(overrides, "siren", 0.7)
    change(overrides, None, 0.4)
    text = overrides.read_text()
    assert text.startswith("# Written by the running monitor")
    assert "sensitivity: 0.4" in text
    assert overrides.stat().st_mode & 0o777 == 0o600
    change(overrides, "siren", None)
    assert "siren" not in overrides.read_text()
    change(overrides, None, None)
    assert not overrides.exists()


@pytest.mark.parametrize(
    ("label", "config", "sentence"),
    [
        ("sirene", {}, "'sirene' is not a label of the model; did you mean siren?"),
        ("siren", {"labels": ["dog_bark"]}, "none of the labels that are reported"),
        (
            "siren",
            {"detection": {"labels": {"siren": {"onset_threshold": 0.5}}}},
            "sets the same threshold as onset_threshold: 0.5",
        ),
    ],
)
def test_an_impossible_sensitivity_changes_nothing(
    overrides: Path, label: str, config: Any, sentence: str
) -> None:
    change(overrides, "dog_bark", 0.6)
    before = overrides.read_bytes()
    with pytest.raises(SoundMonitorError) as error:
        change(overrides, label, 0.7, config)
    assert sentence in str(error.value)
    assert overrides.read_bytes() == before


def test_overrides_that_do_not_fit_keep_no_other_from_a_change(overrides: Path) -> None:
    text = "detection: {labels: {sirene: {sensitivity: 0.4}, jackhammer: 5}}"
    overrides.write_text(text)
    change(overrides, "siren", 0.7)
    written = parse_settings(Overrides, overrides.read_text(), "overrides.yaml")
    assert dict(written.each) == {"sirene": 0.4, "siren": 0.7}


def test_a_sensitivity_that_cannot_be_written_is_one_sentence(overrides: Path) -> None:
    overrides.mkdir()
    with pytest.raises(SoundMonitorError, match="cannot be changed: Is a directory"):
        change(overrides, "siren", 0.7)
