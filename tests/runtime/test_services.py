"""Sinks that are there only where they are asked for."""

from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.config.config import Config
from monitor.config.load import parse_config
from monitor.errors import ConfigError
from monitor.runtime.services import (
    AudioHistory,
    Service,
    ServiceContext,
    build_services,
)
from monitor.sinks.sink import Sink


def surroundings(text: str, state_dir: Path, **environ: str) -> ServiceContext:
    return ServiceContext(
        parse_config(text, "config.yaml") if text else Config(),
        labels=("siren", "dog_bark"),
        sample_rate=44_100,
        clock=SystemClock(),
        past=AudioHistory(),
        state_dir=state_dir,
        environ=environ,
    )


def built(text: str, state_dir: Path) -> list[Sink]:
    services = build_services(surroundings(text, state_dir))
    del services["status"]  # which is there always
    return [service.sink for service in services.values()]


@pytest.mark.parametrize(
    "text",
    ["", "privacy: scores-only\nclips: {labels: [siren]}", "mqtt: {topic: a}"],
)
def test_nothing_is_there_that_is_not_asked_for(text: str, tmp_path: Path) -> None:
    assert built(text, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("privacy: clips", "Clips"),
        ("mqtt: {host: localhost}", "MqttStates"),
        ("heartbeat: {url: 'https://example.org/ping'}", "Heartbeat"),
        ("metrics: {listen: '127.0.0.1:9110'}", "Metrics"),
    ],
)
def test_what_is_asked_for_is_there_and_does_nothing_before_it_is_used(
    text: str, kind: str, tmp_path: Path
) -> None:
    (sink,) = built(text, tmp_path)
    assert type(sink).__name__ == kind
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = (
        "mqtt: {host: a, username: b, password: 'env:MQTT'}\n"
        "heartbeat: {url_secret: 'env:PING'}\n"
        "privacy: clips\n"
        "clips: {labels: [sirn]}\n"
    )
    with pytest.raises(ConfigError) as caught:
        built(text, tmp_path)
    assert str(caught.value).splitlines() == [
        "mqtt.password: the variable MQTT is not set",
        "heartbeat.url_secret: the variable PING is not set",
        "clips.labels: 'sirn' is not a label of the model; choose from siren, dog_bark",
    ]


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("heartbeat: {url_secret: 'env:PING'}\ndetection: {hop_frames: 96}", True),
        ("heartbeat: {url_secret: 'env:PING', every_seconds: 90}", False),
        ("", False),
    ],
)
def test_a_companion_whose_settings_stay_is_let_be(
    text: str, stays: bool, tmp_path: Path
) -> None:
    before = running(tmp_path, PING="https://example.org/1")
    after = build_services(
        surroundings(text, tmp_path, PING="https://example.org/1"), before
    )
    assert (after.get("heartbeat") is before["heartbeat"]) == stays


def test_a_companion_whose_secret_was_renewed_is_built_anew(tmp_path: Path) -> None:
    before = running(tmp_path, PING="https://example.org/1")
    text = "heartbeat: {url_secret: 'env:PING'}"
    after = build_services(
        surroundings(text, tmp_path, PING="https://example.org/2"), before
    )
    assert after["heartbeat"] is not before["heartbeat"]


def running(folder: Path, **environ: str) -> dict[str, Service]:
    text = "heartbeat: {url_secret: 'env:PING'}"
    return build_services(surroundings(text, folder, **environ))


def test_clips_must_fit_into_the_ring() -> None:
    clips = "ring_seconds: 10\nclips: {before_seconds: 4, after_seconds: 2}\n"
    with pytest.raises(ConfigError, match="at most half of ring_seconds: 10"):
        parse_config(f"{clips}privacy: clips", "config.yaml")
    parse_config(clips, "config.yaml")
