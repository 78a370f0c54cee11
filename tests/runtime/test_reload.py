"""A reload takes a configuration as a whole or not at all, and waits for nobody."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.config.load import parse_config
from monitor.errors import ConfigError, StoreError
from monitor.runtime import reload as reload_module
from monitor.runtime.health import HealthReport
from monitor.runtime.reload import FreshConfig, differences
from tests.support.reloading import DEADLINE_SECONDS, Running, started


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with started(tmp_path) as monitor:
        yield monitor


def test_the_status_knows_the_text_of_the_latest_reload_that_was_taken(
    running: Running,
) -> None:
    facts = running.facts
    running.reload("one", ring_seconds=20)
    assert facts.configuration_digest == "one"
    running.reload("two", ring_seconds=20)  # the settings are the same
    assert facts.configuration_digest == "two"
    running.reload("three", model={"file": "/none"})
    assert facts.reload is not None
    assert not facts.reload.is_taken
    assert facts.configuration_digest == "two"


def test_a_reload_keeps_unchanged_captures_and_replaces_everything_behind(
    running: Running,
) -> None:
    app, before = running.app, running.app.sources["street"]
    plan, sinks = app.plan, app.sinks
    sentence = running.reload(ring_seconds=20, store={"keep_days": 7})
    assert sentence == "settings changed: ring_seconds, store"
    after = app.sources["street"]
    assert after.capture is before.capture
    assert after.input.timeline is before.input.timeline
    assert after.input.meter is before.input.meter
    assert app.plan.pipeline is not plan.pipeline
    assert app.sinks.store is not sinks.store
    assert app.sinks.files is not sinks.files
    assert app.plan.alerting is not plan.alerting
    assert app.plan.models.models is plan.models.models
    assert app.plan.models.session is plan.models.session
    assert running.manager.states == ["reloading", "ready"]


def test_a_source_that_comes_back_in_a_session_counts_on(running: Running) -> None:
    """No index stands for two moments."""
    timeline = running.app.sources["street"].input.timeline
    yard = {"name": "yard", "input": "command:sleep 1000"}
    assert running.reload(sources=[yard]) == (
        "sources added: yard; sources removed: street"
    )
    both = [*running.settings["sources"], yard]
    assert running.reload(sources=both) == "sources added: street"
    window = running.app.plan.models.models.spec.window_samples
    again = running.app.sources["street"].input.timeline
    assert again.start == timeline.stop + window


def test_nothing_is_replaced_if_nothing_changed_but_files_are_reopened(
    running: Running,
) -> None:
    """As for logrotate, which sends the same signal every day."""
    plan, log = running.app.plan, running.folder / "events.jsonl"
    log.rename(running.folder / "events.jsonl.1")
    assert running.reload() == "nothing changed"
    running.on_worker(lambda: None)
    assert running.app.plan is plan
    assert log.exists()


def test_a_renewed_secret_is_a_change(running: Running) -> None:
    secret = running.folder / "url"
    secret.write_text("http://127.0.0.1:9/1")
    heartbeat = {"heartbeat": {"url_secret": f"file:{secret}"}}
    assert running.reload(**heartbeat) == "settings changed: heartbeat"
    assert running.reload(**heartbeat) == "nothing changed"
    secret.write_text("http://127.0.0.1:9/2")
    assert running.reload(**heartbeat).startswith("renewed: ")


def test_a_rejected_configuration_touches_nothing_but_reopens_files(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    app = running.app
    plan, sinks, sources = app.plan, app.sinks, app.sources
    log = running.folder / "events.jsonl"
    log.rename(running.folder / "events.jsonl.1")
    assert "not a multiple of the stride" in running.reload(
        detection={"hop_frames": 47}
    )
    running.on_worker(lambda: None)
    assert (app.plan, app.sinks, app.sources) == (plan, sinks, sources)
    assert log.exists()
    assert running.facts.reload is not None
    assert not running.facts.reload.is_taken
    assert caplog.messages[-1].startswith(
        "the configuration was not reloaded, and the one before goes on: "
    )


def test_a_reload_is_rejected_while_records_wait_in_memory(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = running.app.sinks.store
    queues = {"store-records": 2, "store-alerts": 1, "store-frames": 9}
    monkeypatch.setattr(type(store), "queues", property(lambda _: queues))
    sentence = running.reload(store={"keep_days": 7})
    assert sentence == (
        "the database or the event log cannot be written, or its disk is almost "
        "full, and 3 records wait in memory: reload again once it can"
    )
    assert running.app.sinks.store is store


def test_a_reload_is_rejected_while_the_database_cannot_be_written(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules would forget their cooldowns."""
    store = running.app.sinks.store
    monkeypatch.setattr(type(store), "is_failing", True)
    assert "cannot be written" in running.reload(store={"keep_days": 7})
    assert running.app.sinks.store is store


def test_a_reload_is_rejected_while_scores_wait_for_space_on_the_disk(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = running.app.sinks.store
    monkeypatch.setattr("monitor.sinks.store.side_files.MIN_FREE_BYTES", 1 << 60)
    assert "almost full" in running.reload(store={"keep_days": 7})
    assert running.app.sinks.store is store
    assert running.facts.reload is not None
    assert not running.facts.reload.is_taken


def fail_to_open_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next reload not open its database."""
    open_sinks, failures = reload_module.open_sinks, [StoreError("locked")]

    def failing(plan: Any, *arguments: Any) -> Any:
        if plan.alerting is not None and failures:
            raise failures.pop()
        return open_sinks(plan, *arguments)

    monkeypatch.setattr(reload_module, "open_sinks", failing)


def test_without_its_database_the_monitor_listens_on_until_the_next_reload(
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail_to_open_once(monkeypatch)
    posted: list[HealthReport] = []
    monkeypatch.setattr(running.app.environment.reports, "post", posted.append)
    assert running.reload(store={"keep_days": 7}) == "locked"
    assert running.app.sinks.store is None
    running.on_worker(lambda: None)
    assert "nothing is stored; tried again in 10 s: locked" in caplog.messages
    running.reload(store={"keep_days": 7})
    assert running.app.sinks.store is not None
    changes = [each.state for each in posted if each.kind == "disk"]
    assert changes == ["raised", "cleared"]


def test_a_database_that_could_not_be_opened_is_tried_again_unasked(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one whose disk hung just then, so that the store before holds it."""
    fail_to_open_once(monkeypatch)
    monkeypatch.setattr(reload_module, "AGAIN_SECONDS", 0.0)
    assert running.reload(store={"keep_days": 7}) == "locked"
    running.reloader.look()
    running.wait()
    assert running.app.sinks.store is not None


def test_the_main_thread_never_waits_and_many_requests_are_one(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    release, reads = threading.Event(), []

    def again() -> FreshConfig:
        reads.append(1)
        assert release.wait(DEADLINE_SECONDS)
        raise ConfigError("config.yaml: no")

    running.again = again
    for _ in range(5):
        running.reloader.ask()
        running.reloader.look()
    assert running.manager.states == ["reloading"]
    release.set()
    with caplog.at_level(logging.CRITICAL):
        running.wait()  # the one that was going on, and one for all others
        running.wait()
    assert len(reads) == 2
    assert running.manager.states == ["reloading", "ready"] * 2


STREET = "{name: street, input: 'mic:a'}"
YARD = "{name: yard, input: 'mic:b'}"
OPS = "{name: ops, command: ['true']}"


def sources(*entries: str) -> str:
    return f"sources: [{', '.join(entries)}]\n"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("", "", ""),
        (sources(STREET), sources(STREET, YARD), "sources added: yard"),
        (sources(STREET, YARD), sources(YARD), "sources removed: street"),
        (sources(STREET, YARD), sources(YARD, STREET), ""),
        (
            sources(STREET),
            sources("{name: street, input: 'mic:b'}"),
            "sources changed: street",
        ),
        (
            sources(STREET),
            sources("{name: street, input: 'mic:a', level_offset_db: 90}"),
            "sources changed: street",
        ),
        ("", f"alerts: [{OPS}]", "rules added: ops"),
        (
            f"alerts: [{OPS}]",
            "alerts: [{name: ops, labels: [siren], command: ['true']}]",
            "rules changed: ops",
        ),
        (
            "detection: {labels: {siren: {margin: 0.1}, dog_bark: {}}}",
            "detection: {labels: {siren: {margin: 0.2}, dog_bark: {}}}",
            "thresholds changed: siren",
        ),
        (
            "detection: {labels: {siren: {margin: 0.1}}}",
            "detection: {hop_frames: 96}",
            "thresholds changed: siren; settings changed: detection.hop_frames",
        ),
        (
            "",
            "detection: {sensitivity: 0.7}",
            "settings changed: detection.sensitivity",
        ),
        (
            "mqtt: {host: a}",
            "ring_seconds: 60",
            "settings changed: ring_seconds, mqtt",
        ),
    ],
)
def test_differences_are_named_as_in_the_configuration(
    before: str, after: str, sentence: str
) -> None:
    first, second = (
        parse_config(text or "{}", "config.yaml") for text in (before, after)
    )
    assert "; ".join(differences(first, second)) == sentence
