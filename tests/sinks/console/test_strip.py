"""The log-mel strip and the columns over time."""

import numpy as np
import pytest
from rich.color import ColorSystem

from monitor.audio import columns
from monitor.sinks.console import strip
from monitor.sinks.console.paint import ASCII, UNICODE, Canvas
from monitor.sinks.console.strip import SHADES, Strip, draw_strip, heights, over_time
from monitor.web.rendering import FOLDER

BANDS = 48
BRIGHT = SHADES * 3 // 4


def test_the_columns_of_the_display_and_of_the_page_are_those_that_are_made() -> None:
    picture = (FOLDER / "static" / "now_picture.js").read_text()
    assert columns.COLUMNS_PER_SECOND == strip.COLUMNS_PER_SECOND
    assert f"const PER_SECOND = {columns.COLUMNS_PER_SECOND};" in picture
    assert f"const BANDS = {columns.BANDS};" in picture


def tone(band: int, seconds: float) -> np.ndarray:
    """A loud band over a quiet background."""
    columns = np.full((round(seconds * 10), BANDS), 40, np.uint8)
    columns[:, band] = 220
    return columns


def test_a_tone_is_a_bright_line_at_its_height() -> None:
    strip = Strip()
    strip.push(tone(12, 30))
    shades = strip.shades(75, 12, 30.0)
    assert shades.shape == (12, 75)
    assert (shades[12 - 1 - 3] > BRIGHT).all()
    assert (shades > BRIGHT).sum() == 75


def test_new_sound_is_at_the_right_and_moves_to_the_left() -> None:
    strip = Strip()
    strip.push(np.full((100, BANDS), 40, np.uint8))
    strip.push(tone(0, 0.8))
    width, bottom = 75, 3
    assert (
        np.flatnonzero(strip.shades(width, 4, 30.0)[bottom] > BRIGHT)[-1] == width - 1
    )
    strip.push(np.full((100, BANDS), 40, np.uint8))
    bright = np.flatnonzero(strip.shades(width, 4, 30.0)[bottom] > BRIGHT)
    assert bright.tolist() == pytest.approx([width - 26, width - 25], abs=1)


def test_cells_keep_their_columns_while_the_strip_moves() -> None:
    """Else a click would flicker from column to column."""
    generator = np.random.default_rng(3)
    noise = generator.integers(0, 255, (700, BANDS), np.uint8)
    strip = Strip()
    strip.push(noise[:640])
    before = strip.shades(75, 8, 30.0)
    strip.push(noise[640:643])  # most of a cell of 0.4 s
    after = strip.shades(75, 8, 30.0)
    assert (after[:, 5:-2] == before[:, 6:-1]).all()


@pytest.mark.parametrize("width", [1, 33, 74, 193, 600])
def test_a_strip_has_as_many_cells_as_asked_for(width: int) -> None:
    strip = Strip()
    strip.push(tone(12, 60))
    assert (strip.shades(width, 48, 60.0)[48 - 1 - 12] > BRIGHT).all()
    assert strip.shades(width, 96, 60.0).shape == (96, width)


def test_without_colours_a_cell_is_a_shade() -> None:
    strip = Strip()
    strip.push(tone(12, 30))
    for glyphs, colours, darkest in (
        (UNICODE, ColorSystem.STANDARD, "█"),
        (ASCII, ColorSystem.TRUECOLOR, "@"),
    ):
        canvas = Canvas(80, 24, glyphs, colours)
        lines = draw_strip(strip, 20, 4, 30.0, canvas)
        texts = ["".join(it.text for it in line) for line in lines]
        assert texts == [" " * 20, " " * 20, darkest * 20, " " * 20]


def test_values_hold_until_the_next_one_but_not_over_a_gap() -> None:
    points = [(58.0, 1.0), (58.5, 2.0), (59.0, 3.0)]
    assert over_time(points, 60, 60.0)[-4:] == [None, None, 2.0, 3.0]
    fine = over_time(points, 240, 60.0)
    assert fine[-9:] == [None, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert over_time([], 3, 60.0) == [None, None, None]
    assert over_time(points, 0, 60.0) == []


def test_heights_stack_in_lines() -> None:
    values = [None, 0.0, 0.5, 1.0, 9.0]
    assert heights(values, 0.0, 1.0, 1, UNICODE) == [" ▁▅██"]
    assert heights(values, 0.0, 1.0, 2, UNICODE) == ["  ▁██", " ▁███"]


def test_the_darkest_shade_is_a_step_of_nearly_five_decibels() -> None:
    """So that the colours do not change with every column; 255 are 100 dB."""
    strip = Strip()
    columns = np.full((300, BANDS), 40, np.uint8)
    columns[:, 1], columns[:, 2] = 36 + 96 // 2, 36 + 96
    strip.push(columns)
    bottom = strip.shades(1, BANDS, 30.0)[::-1, 0]
    assert bottom[:3].tolist() == [round(4 / 96 * 31), round(48 / 96 * 31), 31]
