"""Services exist only where the configuration asks for them."""

from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.config.config import Config
from monitor.config.load import parse_config
from monitor.errors import ConfigError
from monitor.runtime.services import ServiceContext, build_services
from monitor.sinks.sink import Sink


def context(text: str, state_dir: Path, **environ: str) -> ServiceContext:
    return ServiceContext(
        parse_config(text, "config.yaml") if text else Config(),
        labels={"street": ("siren", "dog_bark")},
        sample_rate=44_100,
        clock=SystemClock(),
        state_dir=state_dir,
        environ=environ,
    )


def built(text: str, state_dir: Path) -> list[Sink]:
    services = build_services(context(text, state_dir))
    # The status socket and its live feed are always there.
    always = {"StatusSocket", "LiveSink"}
    return [each for each in services if type(each).__name__ not in always]


@pytest.mark.parametrize(
    "text",
    ["", "privacy: scores-only\nclips: {labels: [siren]}", "mqtt: {topic: a}"],
)
def test_no_service_is_built_without_its_settings(text: str, tmp_path: Path) -> None:
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
def test_a_service_does_nothing_before_it_is_used(
    text: str, kind: str, tmp_path: Path
) -> None:
    (sink,) = built(text, tmp_path)
    assert type(sink).__name__ == kind
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    text = (
        "mqtt: {host: a, username: b, password: 'env:MQTT'}\n"
        "heartbeat: {url_secret: 'env:PING'}\n"
    )
    with pytest.raises(ConfigError) as caught:
        built(text, tmp_path)
    assert str(caught.value).splitlines() == [
        "mqtt.password: the variable MQTT is not set",
        "heartbeat.url_secret: the variable PING is not set",
    ]


def test_clips_must_fit_into_the_ring() -> None:
    clips = "ring_seconds: 10\nclips: {before_seconds: 4, after_seconds: 2}\n"
    with pytest.raises(ConfigError, match="half of ring_seconds: 10 at most"):
        parse_config(f"{clips}privacy: clips", "config.yaml")
    parse_config(clips, "config.yaml")
