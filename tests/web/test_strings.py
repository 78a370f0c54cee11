"""The text of the page: complete in every language, and all of it used."""

import re

import pytest

from monitor.web.rendering import FOLDER, LANGUAGES, strings

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
