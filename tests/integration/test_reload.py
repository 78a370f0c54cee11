"""Another configuration while the daemon runs: an unchanged source loses no sample."""

import json
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from monitor.model.trained import load_model, save_model
from monitor.spec import ModelSpec
from tests.support.daemon import RunningMonitor
from tests.support.endpoint import running_endpoint
from tests.support.models import seeded_model

pytestmark = pytest.mark.timeout(400)

PATIENCE_SECONDS = 120.0
"""A busy machine takes long to load torch, and to start commands."""

Settings = dict[str, Any]


class Reloading:
    """A daemon, its configuration file, and the number of its reloads."""

    def __init__(self, folder: Path, settings: Settings, *arguments: str) -> None:
        self.config = folder / "config.yaml"
        self.write(settings)
        self.monitor = RunningMonitor(folder, "--config", str(self.config), *arguments)
        self._count = 0

    def __enter__(self) -> "Reloading":
        return self

    def __exit__(self, *error: Any) -> None:
        self.monitor.__exit__(*error)

    def write(self, settings: Settings) -> None:
        self.config.write_text(json.dumps(settings))

    def reload(self, settings: Settings | None = None) -> str:
        """Have it reload; return the line that says what came of it."""
        if settings is not None:
            self.write(settings)
        self._count += 1
        self.monitor.process.send_signal(signal.SIGHUP)
        self.monitor.wait_until(
            lambda _: len(self.outcomes) >= self._count, PATIENCE_SECONDS
        )
        return self.outcomes[self._count - 1].partition(": ")[2]

    @property
    def outcomes(self) -> list[str]:
        return [line for line in self.monitor.log.splitlines() if " reloaded" in line]

    def frames(self, source: str) -> list[tuple[int, int]]:
        """Score frames of a source in the database: start and stop of each."""
        database = self.monitor.state_dir / "monitor.db"
        query = (
            "SELECT start_sample, window_samples, hop_samples, frames "
            "FROM scores_read WHERE source_name = ? ORDER BY start_ms"
        )
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(query, [source]).fetchall()
        return [
            (start + number * hop, start + number * hop + window)
            for start, window, hop, frames in rows
            for number in range(frames)
        ]


def source(name: str, command: str) -> Settings:
    return {"name": name, "input": command}


def assert_no_hole(frames: list[tuple[int, int]], hop_samples: int = 24_576) -> None:
    assert len(frames) > 1
    assert {later[0] - sooner[0] for sooner, later in pairwise(frames)} == {hop_samples}


@pytest.mark.slow
def test_an_unchanged_source_loses_nothing_whatever_else_is_reloaded(
    tmp_path: Path, siren_command: str
) -> None:
    street = source("street", siren_command)
    more = {
        "sources": [street, source("yard", siren_command)],
        "detection": {"labels": {"siren": {"onset_threshold": 0.8}}},
        "store": {"keep_days": 7},
    }
    with (
        running_endpoint() as endpoint,
        Reloading(tmp_path, {"sources": [street]}) as running,
    ):
        monitor = running.monitor
        monitor.wait_for_line("street  siren  began", PATIENCE_SECONDS)
        assert running.reload() == "nothing changed"
        rule = {"name": "ops", "labels": ["siren"], "webhook": {"url": endpoint.url}}
        assert running.reload({**more, "alerts": [rule]}) == (
            "sources added: yard; rules added: ops; thresholds changed: siren; "
            "settings changed: store"
        )
        monitor.wait_for_line("yard  siren  began", PATIENCE_SECONDS)
        monitor.wait_until(lambda _: endpoint.requests, PATIENCE_SECONDS)
        assert running.reload({**more, "surces": []}).endswith(
            "there is no such setting; did you mean sources?"
        )
        assert running.reload({"sources": [street]}).startswith("sources removed: yard")
        monitor.wait_for_line("yard  ended  it is not configured", PATIENCE_SECONDS)
        assert running.reload() == "nothing changed"
        monitor.wait_until(
            lambda it: sum("street  siren  began" in line for line in it.lines) == 3,
            PATIENCE_SECONDS,
        )
        assert monitor.stop()[0] == 0, monitor.log
        assert "Traceback" not in monitor.log
    assert_no_hole(running.frames("street"))
    assert monitor.records("gap") == []
    bodies = [json.loads(request.body) for request in endpoint.requests]
    assert {body["kind"] for body in bodies} == {"onset"}
    assert len({body["event_id"] for body in bodies}) == len(bodies)
    sirens = [event for event in monitor.records("event") if event["label"] == "siren"]
    assert len({event["id"] for event in sirens}) == len(sirens)
    reasons = [event["end_reason"] for event in sirens if event["source"] == "street"]
    assert reasons == ["reloaded", "reloaded", "stopped"]
    assert {e["end_reason"] for e in sirens if e["source"] == "yard"} == {"reloaded"}


def test_a_reload_that_is_requested_during_the_start_follows_it(
    tmp_path: Path, siren_command: str
) -> None:
    sources = {"sources": [source("street", siren_command)]}
    with Reloading(tmp_path, sources) as running:
        monitor = running.monitor
        monitor.wait_until(lambda it: "configuration: " in it.log, PATIENCE_SECONDS)
        assert running.reload() == "nothing changed"
        assert monitor.stop()[0] == 0, monitor.log


def test_a_cooldown_holds_over_a_reload(tmp_path: Path, siren_command: str) -> None:
    with running_endpoint() as endpoint:
        rule = {
            "name": "ops",
            "labels": ["siren"],
            "cooldown_seconds": 3600,
            "webhook": {"url": endpoint.url},
        }
        settings = {"sources": [source("street", siren_command)], "alerts": [rule]}
        with Reloading(tmp_path, settings) as running:
            monitor = running.monitor
            monitor.wait_until(lambda _: endpoint.requests, PATIENCE_SECONDS)
            changed = {**settings, "store": {"keep_days": 7}}
            assert running.reload(changed) == "settings changed: store"
            monitor.wait_until(
                lambda it: sum("siren  began" in line for line in it.lines) == 2,
                PATIENCE_SECONDS,
            )
            assert monitor.stop()[0] == 0, monitor.log
        assert len(endpoint.requests) == 1


@pytest.mark.slow
def test_with_another_model_events_end_and_no_window_is_missing(
    tmp_path: Path, siren_command: str
) -> None:
    sources = {"sources": [source("street", siren_command)]}
    other, coarse = tmp_path / "other.safetensors", tmp_path / "coarse.safetensors"
    shipped = load_model(None)
    card = shipped.card.model_copy(update={"name": "other"})
    save_model(other, replace(shipped, card=card))
    save_model(coarse, seeded_model(spec=ModelSpec(sample_rate=32_000)))
    with Reloading(tmp_path, sources) as running:
        monitor = running.monitor
        monitor.wait_for_line("siren  began", PATIENCE_SECONDS)
        changed = {**sources, "model": {"file": str(other)}}
        assert running.reload(changed) == (
            "settings changed: model; another model: other"
        )
        monitor.wait_until(_knows_siren_of("other"), PATIENCE_SECONDS)
        first, second = (
            event for event in monitor.records("onset") if event["label"] == "siren"
        )
        assert first["model"] == shipped.card.name
        (ended,) = [
            event for event in monitor.records("event") if event["id"] == first["id"]
        ]
        assert ended["end_reason"] == "reloaded"
        # The sound goes on, and another event begins soon after the first one ended.
        assert second["start_sample"] >= ended["stop_sample"]
        # What may be the last of the first sound begins nothing new.
        assert second["start_sample"] - ended["stop_sample"] < 3 * 44_100
        assert monitor.records("gap") == []

        running.reload({**sources, "model": {"file": str(coarse)}})
        monitor.wait_until(lambda it: it.records("gap"), PATIENCE_SECONDS)
        assert monitor.stop()[0] == 0, monitor.log
    assert_no_hole(running.frames("street")[: _frames_at(running, 44_100)])
    gaps = monitor.records("gap")
    assert {gap["end_reason"] for gap in gaps} == {"reloaded"}
    assert gaps[0]["start_sample"] == 0
    assert 0 < gaps[-1]["end_seconds"] < 60


def _knows_siren_of(model: str) -> Any:
    return lambda it: any(
        event["label"] == "siren" and event["model"] == model
        for event in it.records("onset")
    )


def _frames_at(running: Reloading, sample_rate: int) -> int:
    query = "SELECT sum(frames) FROM scores_read WHERE sample_rate = ?"
    database = running.monitor.state_dir / "monitor.db"
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute(query, [sample_rate]).fetchone()[0])


def test_an_impossible_configuration_is_rejected_as_a_whole(
    tmp_path: Path, siren_command: str
) -> None:
    good = {"sources": [source("street", siren_command)]}
    bad: list[tuple[Settings, str]] = [
        ({"model": {"file": "/nowhere"}}, "there is no such model file"),
        ({"detection": {"hop_frames": 47}}, "is not a multiple of the stride"),
        ({"detection": {"labels": {"sirn": {}}}}, "config.yaml:1: detection.labels"),
        ({"sources": [source("street", "command:no-such-program")]}, "no program"),
        ({"store": {"path": "other.db"}}, "while the monitor runs; restart it"),
        ({"state_dir": "/elsewhere"}, "while the monitor runs; restart it"),
        (
            {"alerts": [{"name": "a", "webhook": {"url_secret": "env:NOWHERE"}}]},
            "the variable NOWHERE is not set",
        ),
    ]
    with Reloading(tmp_path, good) as running:
        running.monitor.wait_for_line("siren  began", PATIENCE_SECONDS)
        for settings, sentence in bad:
            # The new thresholds of a file that is rejected do not come either.
            strict = {"detection": {"labels": {"siren": {"onset_threshold": 0.999}}}}
            assert sentence in running.reload({**good, **strict, **settings})
        running.config.write_text("sources: [")
        assert "config.yaml" in running.reload()
        running.config.unlink()
        assert "cannot be read" in running.reload()
        assert running.reload(good) == "nothing changed"
        assert running.monitor.stop()[0] == 0
    assert running.monitor.records("gap") == []
    (siren,) = [e for e in running.monitor.records("event") if e["label"] == "siren"]
    assert siren["end_reason"] == "stopped"


@pytest.mark.slow
def test_a_changed_source_is_opened_again_and_the_gap_is_reported(
    tmp_path: Path, siren_command: str
) -> None:
    with Reloading(tmp_path, {"sources": [source("street", siren_command)]}) as running:
        monitor = running.monitor
        monitor.wait_for_line("siren  began", PATIENCE_SECONDS)
        pcm = Path(siren_command.split()[-1])
        other = siren_command.replace(pcm.name, "copy.pcm")
        pcm.with_name("copy.pcm").write_bytes(pcm.read_bytes())
        sentence = running.reload({"sources": [source("street", other)]})
        assert sentence == "sources changed: street"
        monitor.wait_until(
            lambda it: sum("siren  began" in line for line in it.lines) == 2,
            PATIENCE_SECONDS,
        )
        assert monitor.stop()[0] == 0, monitor.log
    gaps = monitor.records("gap")
    assert {gap["end_reason"] for gap in gaps} == {"reloaded"}
    first, second = [e for e in monitor.records("event") if e["label"] == "siren"]
    assert first["end_reason"] == "reloaded"
    # One timeline: the sound captured afterwards follows the lost sound.
    assert first["stop_sample"] <= gaps[0]["start_sample"]
    assert second["start_sample"] >= gaps[-1]["stop_sample"]


def test_a_stop_during_a_reload_stops(tmp_path: Path, siren_command: str) -> None:
    street = source("street", siren_command)
    other = tmp_path / "other.safetensors"
    shipped = load_model(None)
    card = shipped.card.model_copy(update={"name": "other"})
    save_model(other, replace(shipped, card=card))
    with Reloading(tmp_path, {"sources": [street]}) as running:
        monitor = running.monitor
        monitor.wait_for_line("siren  began", PATIENCE_SECONDS)
        yard = source("yard", siren_command)
        running.write({"sources": [street, yard], "model": {"file": str(other)}})
        monitor.process.send_signal(signal.SIGHUP)
        code, _ = monitor.stop()
        assert code == 0, monitor.log
    assert "Traceback" not in monitor.log
    begun = {event["id"] for event in monitor.records("onset")}
    assert begun == {event["id"] for event in monitor.records("event")}
