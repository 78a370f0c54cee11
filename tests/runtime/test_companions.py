"""Sinks that are there only where they are asked for."""

from pathlib import Path

import pytest

from monitor.config.config import Config
from monitor.config.parse import parse_config
from monitor.errors import ConfigError
from monitor.runtime.clock import SystemClock
from monitor.runtime.companions import build_companions
from monitor.runtime.past import Past
from monitor.sinks.sink import Sink


def built(text: str, state_dir: Path) -> list[Sink]:
    config = parse_config(text, "config.yaml") if text else Config()
    return build_companions(
        config,
        labels=["siren", "dog_bark"],
        sample_rate=44_100,
        clock=SystemClock(),
        past=Past(),
        state_dir=state_dir,
        environ={},
    )


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


def test_clips_must_fit_into_the_ring() -> None:
    clips = "ring_seconds: 10\nclips: {before_seconds: 4, after_seconds: 2}\n"
    with pytest.raises(ConfigError, match="at most half of ring_seconds: 10"):
        parse_config(f"{clips}privacy: clips", "config.yaml")
    parse_config(clips, "config.yaml")
