"""YAML is read strictly; each fault is one sentence: place, key, value, rule."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.audio import SourceSettings
from monitor.config.base import Settings
from monitor.config.config import Config
from monitor.config.load import (
    check_settings,
    key_text,
    parse_config,
    read_yaml,
    value_text,
)
from monitor.errors import ConfigError


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "config.yaml")
    return str(caught.value).splitlines()


def test_an_empty_text_gives_the_defaults() -> None:
    assert parse_config("", "config.yaml") == Config()


@pytest.mark.parametrize(
    "text",
    [
        "model:",
        "alerts:\n",
        "detection:\n  labels:\n",
        "event_log: # nothing set\n",
    ],
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
        ("ring_seconds: null", ":1: ring_seconds: null must be a number"),
        ("model: {threads: 1.5}", ":1: model.threads: 1.5 must be a whole number"),
        ("model: {threads: no}", ":1: model.threads: 'no' must be a whole number"),
        ("state_dir: 5", ":1: state_dir: 5 must be text; put it in quotes"),
        ('state_dir: ""', ":1: state_dir: '' must be text, not empty"),
        ('state_dir: "a\\0"', r":1: state_dir: 'a\x00' must not contain control"),
        ('state_dir: "\\e[2J"', r":1: state_dir: '\x1b[2J' must not contain control"),
        ('state_dir: "\\ud800"', r":1: state_dir: '\ud800' must not contain control"),
        ("model: 5", ":1: model: 5 must be a section with keys and values"),
        ("detection: {labels: [a]}", ":1: detection.labels: a list must be a section"),
        ("sources: mic", ":1: sources: 'mic' must be a list"),
        ("sources: []", ":1: sources: must have at least one source"),
        (
            "model:\n  compute_device: gpu",
            ":2: model.compute_device: 'gpu' must be 'auto', 'cpu', 'cuda' or 'mps'",
        ),
        (
            "sources:\n  - name: a\n    input: mike:x\n",
            ":3: sources[0].input: 'mike:x' must be mic:NAME, file:PATH, command:ARGV "
            "or demo:",
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
            "webhook: x",
            ":1: webhook: there is no such setting; choose from state_dir, sources,",
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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("7", 7),
        ("010", 10),  # not octal
        ("1:30", "1:30"),  # not base sixty
        ("1_000", "1_000"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("2026-03-01", "2026-03-01"),
        (".inf", ".inf"),
        ("'7'", "7"),
        ("mic:default", "mic:default"),
        ("[1, a]", [1, "a"]),
        ("{a: {b: 2}}", {"a": {"b": 2}}),
        ("<<", "<<"),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: object) -> None:
    read = read_yaml(f"key: {text}", "here").data["key"]
    assert read == value
    assert type(read) is type(value)


def test_the_lines_of_keys_and_list_items_are_known() -> None:
    document = read_yaml("a: 1\n\nb:\n  - c: 2\n  - d: 3\n    e: 4\n", "here")
    assert document.line(("a",)) == 1
    assert document.line(("b", 0, "c")) == 4
    assert document.line(("b", 1)) == 5
    assert document.line(("b", 1, "e")) == 6
    assert document.line(("b", 1, "missing")) == 5  # of the section around it
    assert document.line(("missing",)) is None


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "\ufeff# mark\n"])
def test_an_empty_text_is_an_empty_mapping(text: str) -> None:
    assert read_yaml(text, "here").data == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a:\n\tb: 1", "here:2: a tab indents this line; use spaces"),
        ("a:\n  \tb: 1", "here:2: a tab indents this line; use spaces"),
        ("a:\n  b:\t1", "here:2: a tab inside this line; use a space"),
        ("a: {b: 1}\t# c", "here:1: a tab inside this line; use a space"),
        ("a:\n-\tb", "here:2: a tab inside this line; use a space"),
        (
            "a: 1\nb: 2\na: 3",
            "here:3: a: duplicate key; first used in line 1",
        ),
        (
            "x:\n  - k: 1\n    k: 2",
            "here:3: x[0].k: duplicate key; first used in line 2",
        ),
        (
            "input: demo:",
            "here:1: an unexpected ':'; put the value in quotes, or check the "
            "indentation",
        ),
        ("a: 1\n  b: 2\n", "here:2: an unexpected ':'; put the value"),
        ("a: 1\n---\nb: 2", "here:2: a second document begins; only one is allowed"),
        ("a: &x 1\nb: *x", "here:2: aliases (*) are not supported"),
        ("a: &x [*x]", "here:1: aliases (*) are not supported"),
        ("a: !!python/name:os.system", "here:1: the tag tag:yaml.org,2002:python/name"),
        ("a: !secret b", "here:1: the tag !secret is not supported"),
        ("a: !!set {b}", "here:1: the tag tag:yaml.org,2002:set is not sup"),
        ("a: !!int b", "here:1: 'b' is not a number"),
        ("1: a", "here:1: a key must be a word; put it in quotes"),
        ("? [a]\n: b", "here:1: a key must be a word; put it in quotes"),
        ("- a", "here:1: must be keys and values"),
        ("word", "here:1: must be keys and values"),
        ("a: [1, 2\nb: 3", "here:2: a bracket is not closed, or a comma is missing"),
        ("a: 'b", "here:1: the text ends inside quotes"),
        ("a: \x07", "here:1: a control character"),
        ("b: " + "9" * 5000, f"here:1: '{'9' * 40}' has too many digits"),
    ],
)
def test_a_fault_of_the_yaml_is_one_sentence_with_its_line(
    text: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, "here")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: " + "[" * 100_000, "here:1: more than 20 levels"),
        ("a: " + "{b: " * 50_000, "here:1: more than 20 levels"),
        ("a: " + "b" * 262_144, "here: is longer than 262144 characters"),
        ("a: [" + "1," * 20_000, "here:1: more than 10000 keys and values"),
        ("k" * 201 + ": 1", "here:1: the key 'kkkk.*' must be printable, and at most"),
        ('"a\\e[2J\\n": 1', r"here:1: the key 'a\\x1b\[2J\\n' must be printable"),
        ("a: [&x 1, &x 2]", r"here:1: a duplicate anchor"),
    ],
)
def test_a_text_that_would_exhaust_memory_is_rejected(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_yaml(text, "here")


letters = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])
words = st.text(letters)
names = st.text(letters, max_size=200).filter(str.isprintable)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(names, trees, max_size=4))
def test_what_another_program_writes_is_read_back(data: dict[str, object]) -> None:
    # Flow style and quotes: other programs do not know which words need quotes here.
    text = yaml.safe_dump(data, default_style='"', default_flow_style=True)
    assert read_yaml(text, "here").data == data


@given(st.text(max_size=60))
def test_any_text_is_read_or_rejected_in_one_sentence(text: str) -> None:
    message = ""
    try:
        read_yaml(text, "here")
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message


def test_a_key_path_is_written_as_people_write_it() -> None:
    assert key_text(("sources", 0, "name")) == "sources[0].name"
