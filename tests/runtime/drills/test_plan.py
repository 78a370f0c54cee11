"""A private monitor has no endpoint but that of the drill."""

from pathlib import Path

import pytest

from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.config.load import parse_config
from monitor.errors import UsageError
from monitor.runtime.drills.plan import (
    DrillPlan,
    plan_drills,
    write_noise_config,
    write_source_config,
)
from monitor.runtime.loading import choose_models

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


def planned(config: Config, *, needs_source: bool = True) -> DrillPlan:
    return plan_drills(config, None, needs_source=needs_source)


def test_the_first_live_source_is_unplugged_without_any_alert(tmp_path: Path) -> None:
    plan = planned(users())
    text = write_source_config(plan, tmp_path).read_text()
    private = parse_config(text, "private.yaml")
    assert [(s.name, s.input, s.channels) for s in private.sources] == [
        ("yard", "mic:USB Audio", 1)
    ]
    assert private.detection == users().detection
    assert private.state_dir is None
    assert private.store.path is not None
    assert private.event_log.path is not None
    assert private.alerts == ()
    assert private.mqtt.host is None
    assert private.heartbeat.url is None
    assert private.metrics.listen is None
    assert private.privacy == "scores-only"
    assert "example.org" not in text


def test_all_noise_is_reported_to_the_drill_alone(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/x"
    text = write_noise_config(planned(users()), tmp_path, url).read_text()
    private = parse_config(text, "private.yaml")
    (rule,) = private.alerts
    assert rule.webhook is not None
    assert rule.webhook.url == "http://127.0.0.1:1/x"
    assert "example.org" not in text
    assert private.detection.hop_frames == 96
    thresholds = {each.onset_threshold for each in private.detection.labels.values()}
    assert len(private.detection.labels) == 10
    assert thresholds == {1e-6}


def test_a_drill_needs_no_label_that_was_taught(tmp_path: Path) -> None:
    """It has a state folder of its own."""
    rules = "labels: {siren: {onset_threshold: 0.9}, our_bell: {onset_threshold: 0.8}}"
    text = USERS.replace("labels: {siren: {onset_threshold: 0.9}}", rules)
    users = parse_config(f"labels: [siren, our_bell]{text}", "config.yaml")
    plan = planned(users)
    source = parse_config(write_source_config(plan, tmp_path).read_text(), "a.yaml")
    assert source.labels == ("siren",)
    assert list(source.detection.labels) == ["siren"]
    noisy = write_noise_config(plan, tmp_path, "http://127.0.0.1:1/x").read_text()
    private = parse_config(noisy, "b.yaml")
    assert private.labels == ("siren",)
    assert "our_bell" not in private.detection.labels
    for config in (source, private):
        assert choose_models(config).names["siren"] == "urban"
    # If it was the only one, the default ones are used.
    alone = parse_config(f"labels: [our_bell]{USERS}", "config.yaml")
    written = write_source_config(planned(alone), tmp_path).read_text()
    assert parse_config(written, "c.yaml").labels is None


def test_a_taught_label_of_the_source_is_left_out_too(tmp_path: Path) -> None:
    text = USERS.replace("channels: 1", "channels: 1, labels: [our_bell, siren]")
    plan = planned(parse_config(text, "config.yaml"))
    written = write_source_config(plan, tmp_path).read_text()
    (source,) = parse_config(written, "private.yaml").sources
    assert source.labels == ("siren",)


def test_the_demo_is_played_by_a_program_that_can_be_killed() -> None:
    chosen = SourceSettings(name="demo", input="demo:")
    plan = plan_drills(users(), chosen, needs_source=True)
    assert plan.source is not None
    assert plan.source.input.startswith("command:")


def test_a_source_that_cannot_be_unplugged_is_rejected() -> None:
    tape = SourceSettings(name="tape", input="file:tape.wav")
    with pytest.raises(UsageError, match="unplugs microphones and programs"):
        plan_drills(users(), tape, needs_source=True)
    only = parse_config("sources: [{name: tape, input: 'file:t.wav'}]", "config.yaml")
    with pytest.raises(UsageError, match="no source of the configuration is live"):
        planned(only)
    assert planned(only, needs_source=False).source is None
