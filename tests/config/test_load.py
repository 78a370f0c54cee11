"""Settings are built from a text; each fault is one sentence with its place."""

import pytest

from monitor.config.audio import SourceSettings
from monitor.config.base import Settings
from monitor.config.config import Config
from monitor.config.load import check_settings, parse_config, value_text
from monitor.errors import ConfigError


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "config.yaml")
    return str(caught.value).splitlines()


def test_an_empty_text_gives_the_defaults() -> None:
    assert parse_config("", "config.yaml") == Config()


@pytest.mark.parametrize(
    "text",
    ["model:", "alerts:\n", "detection:\n  labels:\n", "event_log: # nothing set\n"],
)
def test_an_empty_section_has_its_defaults(text: str) -> None:
    assert parse_config(text, "config.yaml") == Config()


def test_a_label_without_settings_is_a_label() -> None:
    labels = parse_config("detection: {labels: {siren: }}", "").detection.labels
    assert set(labels) == {"siren"}


def test_a_whole_number_serves_where_a_number_is_meant() -> None:
    assert parse_config("ring_seconds: 60", "").ring_seconds == 60.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "\n\ndetection:\n  labels:\n    siren:\n      onset_threshold: 1.7\n",
            ":6: detection.labels.siren.onset_threshold: 1.7 must be less than 1",
        ),
        ("ring_seconds: 4", ":1: ring_seconds: 4 must be at least 5"),
        ("ring_seconds: 1e9", ":1: ring_seconds: 1000000000.0 must be at most 3600"),
        (
            "detection: {labels: {siren: {onset_threshold: 0}}}",
            ":1: detection.labels.siren.onset_threshold: 0 must be greater than 0",
        ),
        ("ring_seconds: true", ":1: ring_seconds: true must be a number"),
        ("ring_seconds: .nan", ":1: ring_seconds: '.nan' must be a number"),
        ("ring_seconds: null", ":1: ring_seconds: has no value; it must be a number"),
        ("model: {threads: 1.5}", ":1: model.threads: 1.5 must be a whole number"),
        ("model: {threads: no}", ":1: model.threads: 'no' must be a whole number"),
        ("state_dir: 5", ":1: state_dir: 5 must be text; put it in quotes"),
        ('state_dir: ""', ":1: state_dir: '' must be text, not empty"),
        ('state_dir: "a\\0"', r":1: state_dir: 'a\x00' must not contain control"),
        ('state_dir: "\\e[2J"', r":1: state_dir: '\x1b[2J' must not contain control"),
        ('state_dir: "\\ud800"', r":1: state_dir: '\ud800' must not contain control"),
        ("model: 5", ":1: model: 5 must be a section with keys and values"),
        (
            "detection: {labels: [a]}",
            ":1: detection.labels: a list must be a section with keys and values, w",
        ),
        ("sources: mic", ":1: sources: 'mic' must be a list"),
        ("sources: []", ":1: sources: must have at least one source"),
        ("sources:\n", ':1: sources: has no entry; add one, as "- {name: street, in'),
        (
            "sources:\n  name: a\n",
            ":1: sources: a section must be a list; begin each of its entries with '-",
        ),
        ("labels: siren", ":1: labels: 'siren' must be a list; write it as [A, B], or"),
        ("mqtt:\nhost: a", ":2: host: there is no such setting; it belongs to mqtt: "),
        (
            "sources:\n- {name: a, input: udp:5}\n- {name: b, input: 'udp:[::1]:5'}",
            ":1: sources: 'a' and 'b' both listen at the UDP port 5; give each a port",
        ),
        (
            "mqtt: {host: 'mqtt://a'}",
            ":1: mqtt.host: 'mqtt://a' must be a name or an address alone, as broker.e",
        ),
        ("mqtt: {host: 'a:1883'}", ":1: mqtt.host: 'a:1883' must be a name or an addr"),
        ("mqtt: {host: '[::1]'}", ":1: mqtt.host: '[::1]' must be a name or an addres"),
        ("mqtt: {host: 'u:p@a'}", ":1: mqtt.host: must not contain a user; use userna"),
        (
            "alerts: [{name: a, mqtt: {host: 'mqtt://a'}}]",
            ":1: alerts[0].mqtt.host: 'mqtt://a' must be a name or an address alone, ",
        ),
        (
            "model:\n  compute_device: gpu",
            ":2: model.compute_device: 'gpu' must be 'auto', 'cpu', 'cuda' or 'mps'",
        ),
        (
            "sources:\n  - name: a\n    input: mike:x\n",
            ":3: sources[0].input: 'mike:x' must be mic:NAME, file:PATH, "
            "command:ARGV, demo:, udp:[ADDRESS:]PORT or the URL of an rtsp, rtsps, "
            "http or https stream",
        ),
        ("sources:\n  - input: 'demo:'\n", ":2: sources[0]: name is missing"),
        ("sources: [{name: a b}]", ":1: sources[0].name: 'a b' must begin with"),
        (
            "sources:\n  - {name: a}\n  - {name: a}\n",
            ":1: sources: two sources have the name 'a'",
        ),
        (
            "detection:\n  labels:\n    siren: {onset_threshold: 0.3, "
            "offset_threshold: 0.5}",
            ":3: detection.labels.siren: offset_threshold: 0.5 must not be above "
            "onset_threshold: 0.3, or the label could never stay on",
        ),
        (
            "detection:\n  labels:\n    siren:\n      onset_treshold: 0.5",
            ":4: detection.labels.siren.onset_treshold: there is no such setting; did "
            "you mean onset_threshold?",
        ),
        (
            "sources: [{name: a, sample_rates: 1}]",
            ":1: sources[0].sample_rates: there is no such setting; did you mean "
            "sample_rate?",
        ),
        (
            "sound: x",
            ":1: sound: there is no such setting; choose from state_dir, sources,",
        ),
        ("modle: {}", ":1: modle: there is no such setting; did you mean model?"),
        (
            "model: {preset: x}",
            ":1: model.preset: there is no such setting; choose from file, compute_",
        ),
    ],
)
def test_a_fault_names_place_key_value_and_rule(text: str, sentence: str) -> None:
    (complaint,) = complaints(text)
    assert complaint.startswith(f"config.yaml{sentence}")


def test_each_fault_is_reported() -> None:
    text = "ring_seconds: 1\nmodel:\n  threads: 0\nstat_dir: x\n"
    assert complaints(text) == [
        "config.yaml:1: ring_seconds: 1 must be at least 5",
        "config.yaml:3: model.threads: 0 must be at least 1",
        "config.yaml:4: stat_dir: there is no such setting; did you mean state_dir?",
    ]


class _Switch(Settings):
    enabled: bool = True


def test_no_is_a_word_and_not_false() -> None:
    with pytest.raises(ConfigError, match=r"^here: a\.enabled: 'no' must be true or f"):
        check_settings(_Switch, {"enabled": "no"}, "here", "a")


def test_values_from_elsewhere_are_checked_by_the_same_rules() -> None:
    with pytest.raises(ConfigError, match="--input: input: 'x:' must be mic:NAME"):
        check_settings(SourceSettings, {"name": "a", "input": "x:"}, "--input")


def test_a_long_value_is_shortened() -> None:
    assert len(value_text("x" * 1000)) < 80


def test_a_thousand_faults_are_not_a_thousand_sentences() -> None:
    text = "".join(f"k{number}: 1\n" for number in range(1000))
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "here")
    sentences = str(caught.value).splitlines()
    assert len(sentences) == 51
    assert sentences[-1] == "here: 950 more faults"


def test_a_training_section_is_directed_to_its_own_file() -> None:
    (sentence,) = complaints("model:\ntraining: {seed: 3}\n")
    assert sentence.startswith("config.yaml:2: training: training has a settings file")
    assert "sound-monitor train --settings FILE" in sentence
