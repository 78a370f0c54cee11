"""YAML is read strictly; a fault is one sentence with its line."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.strict_yaml import key_text, read_yaml
from monitor.errors import ConfigError


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
        ("a: 1\nb: 2\na: 3", "here:3: a: duplicate key; first used in line 1"),
        (
            "x:\n  - k: 1\n    k: 2",
            "here:3: x[0].k: duplicate key; first used in line 2",
        ),
        (
            "input: demo:",
            "here:1: an unexpected ':'; put a value with a ':' in quotes, as in "
            "input: 'demo:'",
        ),
        ("s:\n  - {input: demo:}", "here:2: an unexpected ':'; put a value with"),
        (
            "{a: 1 b: 2}",
            "here:1: an unexpected ':'; put a value with a ':' in quotes, as in "
            "input: 'demo:'; or a comma is missing",
        ),
        ("a: 1\n  b: 2\n", "here:2: this line is indented further than the line b"),
        ("s:\n- a: 1\n   b: 2\n", "here:3: this line is indented further than the l"),
        ("s\n  - a: 1\n", "here:2: the line before this one has no ': ' after its k"),
        ("s:\n- a:1\n  b: 2\n", "here:3: the line before this one has no ': ' afte"),
        ("a: 'it's'", "here:1: this does not continue what is before it; inside"),
        ("a: 'b',", "here:1: a comma behind a value; only brackets have commas"),
        ("s:\n  - a: 1\n  b: 2\n", "here:3: this key belongs to no entry of the li"),
        ("s:\n  - a: 1\n   b: 2\n", "here:3: the indentation of this line fits no "),
        ("m:\n  a: 1\n b: 2\n", "here:3: the indentation of this line fits no line"),
        ("m:\n  k: 1\n  a:x\n\nb: 2\n", "here:3: this line has no ': ' after its key"),
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
        ("a: [1, 2\nb: 3", "here:2: the bracket that opens in line 1 is not closed"),
        ("a: {b: 1", "here:1: the bracket that opens in line 1 is not closed"),
        ("a: 1\nb: 'b\nc: d\n\n", "here:2: the quotes that begin here are not closed"),
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
