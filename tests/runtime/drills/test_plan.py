"""The configuration of a private monitor reaches nobody but the drill."""

from pathlib import Path

import pytest

from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.config.load import parse_config
from monitor.errors import UsageError
from monitor.runtime.drills.plan import (
    Plan,
    microphone_config,
    plan_drills,
    street_config,
)

USERS = """
sources:
  - {name: tape, input: "file:tape.wav"}
  - {name: yard, input: "mic:USB Audio", channels: 1}
  - {name: gate, input: "command:arecord -q"}
alerts:
  - {name: boss, webhook: {url: "https://example.org/boss"}}
mqtt: {host: broker.example.org}
heartbeat: {url: "https://example.org/alive"}
metrics: {listen: "127.0.0.1:9110"}
privacy: clips
detection: {hop_frames: 96, labels: {siren: {onset_threshold: 0.9}}}
event_log: {path: null}
store: {path: null}
"""


def users() -> Config:
    return parse_config(USERS, "config.yaml")


def planned(config: Config, *, needs_source: bool = True) -> Plan:
    return plan_drills(config, None, needs_source=needs_source)


def test_the_first_live_source_is_unplugged_and_nobody_is_told() -> None:
    plan = planned(users())
    text = microphone_config(plan, Path("/drill/state"))
    private = parse_config(text, "private.yaml")
    assert [(s.name, s.input, s.channels) for s in private.sources] == [
        ("yard", "mic:USB Audio", 1)
    ]
    assert private.detection == users().detection
    assert private.state_dir == "/drill/state"
    assert private.store.path is not None
    assert private.event_log.path is not None
    assert private.alerts == ()
    assert private.mqtt.host is None
    assert private.heartbeat.url is None
    assert private.metrics.listen is None
    assert private.privacy == "scores-only"
    assert "example.org" not in text


def test_the_street_is_told_to_the_drill_alone_whatever_it_sounds_like() -> None:
    text = street_config(planned(users()), Path("/drill/state"), "http://127.0.0.1:1/x")
    private = parse_config(text, "private.yaml")
    (rule,) = private.alerts
    assert rule.webhook is not None
    assert rule.webhook.url == "http://127.0.0.1:1/x"
    assert "example.org" not in text
    assert private.detection.hop_frames == 96
    thresholds = {each.onset_threshold for each in private.detection.labels.values()}
    assert len(private.detection.labels) == 10
    assert thresholds == {1e-6}


def test_the_demo_is_played_by_a_program_that_can_be_killed() -> None:
    chosen = SourceSettings(name="demo", input="demo:")
    plan = plan_drills(users(), chosen, needs_source=True)
    assert plan.source is not None
    assert plan.source.input.startswith("command:")


def test_what_cannot_be_unplugged_is_refused_in_one_sentence() -> None:
    tape = SourceSettings(name="tape", input="file:tape.wav")
    with pytest.raises(UsageError, match="a recording cannot be unplugged"):
        plan_drills(users(), tape, needs_source=True)
    only = parse_config("sources: [{name: tape, input: 'file:t.wav'}]", "config.yaml")
    with pytest.raises(UsageError, match="no source of the configuration is live"):
        planned(only)
    assert planned(only, needs_source=False).source is None
