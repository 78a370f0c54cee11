"""Chosen labels, from config.yaml to the webhook: these are reported, nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from monitor.audio.sources.demo import render_scene
from tests.support.commands import run
from tests.support.daemon import RunningMonitor
from tests.support.endpoint import Endpoint, running_endpoint
from tests.support.household import RATE, baby_cry, glass, in_room, smoke_alarm
from tests.support.pulse import PulseServer

CHOSEN = ("smoke_alarm", "glass", "baby_cry")
SOUNDS = {"smoke_alarm": smoke_alarm, "glass": glass, "baby_cry": baby_cry}


def configured(folder: Path, url: str, labels: Sequence[str] = CHOSEN) -> Path:
    path = folder / "config.yaml"
    rule = {"name": "home", "labels": [*labels], "webhook": {"url": url}}
    chosen = {"models": ["urban", "world"], "labels": [*labels], "alerts": [rule]}
    path.write_text(json.dumps(chosen))
    return path


def played(label: str) -> np.ndarray[Any, Any]:
    """A sound of a label in a room, (n,); none of those that others are made of."""
    return in_room(SOUNDS[label](2), 2).astype(np.float32)


def alerted(endpoint: Endpoint) -> list[str]:
    return [json.loads(request.body)["label"] for request in endpoint.requests]


def test_check_explains_the_chosen_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path, "http://127.0.0.1:9/")
    document = json.loads(run(capsys, "check", "--config", config, "--json"))
    assert sorted(document["labels"]) == sorted(CHOSEN)
    assert {each["model"] for each in document["labels"].values()} == {"world"}


def test_what_is_chosen_raises_its_event_and_its_alert_and_nothing_else(
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 6 * RATE)
    parts = [noise]
    for label in CHOSEN:
        parts += [played(label), noise]
    recording = tmp_path / "home.wav"
    soundfile.write(recording, np.concatenate(parts).astype(np.float32), RATE)
    with running_endpoint() as endpoint:
        config = configured(tmp_path, endpoint.url)
        with RunningMonitor(
            tmp_path,
            *("--config", str(config), "--input", f"file:{recording}"),
            *("--speed", "max"),
        ) as monitor:
            assert monitor.process.wait(60) == 0, monitor.log
            events = monitor.records("event")
        found = {event["label"] for event in events}
        assert found == {*CHOSEN}
        assert {event["model"] for event in events} == {"world"}
        assert {*alerted(endpoint)} == {*CHOSEN}
    # The siren-like beeps are an alarm too, and silent: they were not chosen.
    with running_endpoint() as endpoint:
        other = tmp_path / "other"
        other.mkdir()
        config = configured(other, endpoint.url, ["baby_cry"])
        with RunningMonitor(
            other,
            *("--config", str(config), "--input", f"file:{recording}"),
            *("--speed", "max"),
        ) as monitor:
            assert monitor.process.wait(60) == 0, monitor.log
            assert {each["label"] for each in monitor.records("event")} == {"baby_cry"}


def test_labels_that_are_scored_but_not_chosen_raise_no_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, config = tmp_path / "street.wav", tmp_path / "config.yaml"
    # A siren, a drill, a horn and a dog, all of which the model scores.
    soundfile.write(recording, render_scene(RATE).T, RATE)
    found = {}
    for labels in ("null", "[drilling]"):
        config.write_text(f"labels: {labels}\n")
        lines = run(capsys, "analyze", recording, "--config", config, "--json")
        found[labels] = {json.loads(line)["label"] for line in lines.splitlines()}
    assert {"siren", "drilling"} < found["null"]
    assert found["[drilling]"] == {"drilling"}


@pytest.mark.soundcard
@pytest.mark.timeout(120)
def test_a_microphone_hears_the_chosen_labels(
    tmp_path: Path,
    pulse: PulseServer,
) -> None:
    with running_endpoint() as endpoint:
        config = configured(tmp_path, endpoint.url)
        with RunningMonitor(
            tmp_path, "--config", str(config), "--input", "mic:default"
        ) as monitor:
            monitor.wait_for_line("listening")
            for label in CHOSEN:
                player = pulse.play_samples(played(label)[None], RATE)
                monitor.wait_until(
                    lambda it, label=label: label in alerted(endpoint), 30
                )
                player.wait(30)
            assert monitor.stop()[0] == 0
            assert {each["label"] for each in monitor.records("event")} == {*CHOSEN}
        assert {*alerted(endpoint)} == {*CHOSEN}
