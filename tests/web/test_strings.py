"""The text of the page: complete in every language, and all of it used."""

import ast
import html
import re

import pytest

from monitor.runtime.health import DISK, OVERLOAD
from monitor.web.rendering import FOLDER, LANGUAGES, said, strings
from tests.audio.test_signal_health import FAULTS, good
from tests.support.health import examine

SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for folder, pattern in (("templates", "*.html"), ("static", "*.js"), (".", "*.py"))
    for path in (FOLDER / folder).rglob(pattern)
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_keys_and_fields(language: str) -> None:
    first, other = strings(LANGUAGES[0]), strings(language)
    assert first.keys() == other.keys()
    for key, text in first.items():
        fields = [set(re.findall(r"\{\w+\}", str(each))) for each in (text, other[key])]
        assert fields[0] == fields[1], key


def test_every_text_is_used() -> None:
    # Whole keys, or the beginning of a key that is put together: t("pages." ~ name).
    quoted = set(re.findall(r"[\"'`]([a-z_]+(?:\.[a-z_0-9-]+)*\.?)", SOURCES))
    unused = [
        key
        for key in strings(LANGUAGES[0])
        if key not in quoted and f"{key.rpartition('.')[0]}." not in quoted
    ]
    assert unused == []


def test_every_key_of_a_template_or_script_exists() -> None:
    asked = set(re.findall(r"\bt\(\s*[\"']([^\"']+[^.\"'])[\"']", SOURCES))
    assert asked - strings(LANGUAGES[0]).keys() == set()


@pytest.mark.parametrize("kind", FAULTS)
def test_causes_of_a_fault_of_the_signal_are_in_the_language_of_the_viewer(
    kind: str,
) -> None:
    faulty = FAULTS[kind]
    raised, *_ = examine(good(channels=len(faulty)), faulty)
    assert html.unescape(said("en", raised.detail)) == raised.detail
    german = said("de", raised.detail)
    assert german != said("en", raised.detail)
    assert "lang" not in german


@pytest.mark.parametrize(
    ("sentence", "german"),
    [
        (OVERLOAD, "dieses Gerät ist zu langsam"),
        (DISK, "Einträge oder Werte und Pegel warten"),
        (
            "the test sound was not detected as expected: siren scored at most 0.02, "
            "below its threshold of 0.60",
            "nicht wie erwartet erkannt: siren erreichte höchstens 0.02, unter der",
        ),
        ("a <camera> ended", '<span lang="en">a &lt;camera&gt; ended</span>'),
        ("channel <b> is silent", "Kanal &lt;b&gt; ist still"),
        ("channel {0.x} is silent", "Kanal {0.x} ist still"),
    ],
)
def test_sentences_of_the_monitor_are_translated_where_they_are_known(
    sentence: str, german: str
) -> None:
    assert german in said("de", sentence)


def test_every_sentence_that_is_translated_is_one_of_the_monitor() -> None:
    written = {
        text
        for path in FOLDER.parent.rglob("*.py")
        if path.parts[-2] in ("audio", "commands", "runtime", "sinks")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (text := pattern_of(node))
    }
    known = {
        re.sub(r"\{\w+\}", "{}", text)
        for key, text in strings(LANGUAGES[0]).items()
        if key.startswith("words.said.")
    }
    # Put together of two parts.
    known -= {"channel {} is silent", "channel {} is {} dB below the other one"}
    assert known - written == set()


def pattern_of(node: ast.AST) -> str:
    """A text of the source, with {} for its values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(pattern_of, node.values)) or "{}"
    return "{}" if isinstance(node, ast.FormattedValue) else ""
