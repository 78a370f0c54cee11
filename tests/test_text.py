"""Records in words, and secrets left out of texts."""

import pytest

from monitor.text import (
    WeightedUnits,
    duration,
    level,
    percent,
    position,
    printable,
    table_text,
    weighted_unit,
    without_secrets,
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"),
        (6.66, "6.7 s"),
        (59.94, "59.9 s"),
        (59.96, "1m 00s"),
        (725.3, "12m 05s"),
        (3599.4, "59m 59s"),
        (3600.0, "1h 00m"),
        (11_520.0, "3h 12m"),
        (442_800.0, "5d 03h"),
        (float("nan"), "-"),
    ],
)
def test_a_duration_takes_at_most_seven_characters(seconds: float, words: str) -> None:
    assert duration(seconds) == words
    assert len(words) <= 7


def test_no_text_in_a_table_is_a_formula() -> None:
    for begin in "=+-@\t\r\n＝＋－＠":  # noqa: RUF001
        assert table_text(f"{begin}1") == f"'{begin}1"
    assert table_text("siren = 1") == "siren = 1"


def test_levels_are_re_full_scale_until_their_offset_is_set() -> None:
    assert [weighted_unit(0.0), weighted_unit(94.5)] == ["dBFS(A)", "dB(A)"]
    same = WeightedUnits({"street": "dB(A)", "yard": "dB(A)"})
    assert (same.column, same.cell("yard", 63.25)) == ("dB(A)", "63.2")
    mixed = WeightedUnits({"street": "dB(A)", "yard": "dBFS(A)"})
    assert mixed.column == mixed.of("gone") == "dBFS(A)"
    assert mixed.cell("yard", -40.0) == "-40.0"
    assert mixed.cell("street", 63.0) == "63.0 dB(A)"
    assert mixed.cell("street", float("nan")) == "-"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0:00:00.0"), (62.39, "0:01:02.3"), (36_000.0, "10:00:00.0")],
)
def test_a_position_is_hours_minutes_and_seconds(seconds: float, words: str) -> None:
    assert position(seconds) == words


def test_control_characters_are_replaced() -> None:
    assert printable("a\x1b[2Jb\nc") == "a?[2Jb c"
    assert printable("Straße 🚨") == "Straße 🚨"


def test_a_level_has_no_minus_before_zero() -> None:
    assert level(-0.3) == "0"
    assert level(-21.06, 1) == "-21.1"
    assert level(float("-inf")) == "-"


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam:s3cret@10.0.0.7:554/live: 401 Unauthorized",
        "cannot open 'http://s3cret@example.org/'",
        "GET https://example.org/stream?key=s3cret&x=1 failed",
        "ffmpeg: Authorization: Bearer s3cret",
        "bad option --password=s3cret",
        "API-Key: s3cret, refused",
        '{"token": 1} token=s3cret',
    ],
)
def test_a_secret_is_replaced(text: str) -> None:
    shown = without_secrets(text)
    assert "s3cret" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "microphone 'USB Audio': no input device matches",
        "command 'ffmpeg' exited with code 1: rtsp://10.0.0.7/live: timed out",
        "is there a microphone? yes @ home",
    ],
)
def test_text_without_a_secret_is_unchanged(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (1.0, "100 %"),
        (0.999_999, "99.99 %"),
        (0.0, "0 %"),
        (0.57, "57.00 %"),
        (0.00005, "< 0.01 %"),
    ],
)
def test_a_share_is_whole_only_if_nothing_is_missing(
    value: float | None, text: str
) -> None:
    assert percent(value) == text
