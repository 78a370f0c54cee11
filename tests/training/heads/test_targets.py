"""Targets are drawn column by column: # audible, - faint, . silent."""

import numpy as np
import pytest

from monitor.spec import ModelSpec
from training.heads.streams import ABSENT_DB
from training.heads.targets import WindowColumns, background_ranges, window_targets

GRID = WindowColumns(columns=6, recent=2, hop=2)
LEVELS = {"#": 5.0, "-": -20.0, ".": ABSENT_DB}


def targets_of(drawn: str, label: str = "siren") -> tuple[str, str]:
    """Windows with the label (x), without (.) and of no weight (?), by the drawing."""
    snr = np.array([[LEVELS[each]] for each in drawn], np.float32)
    windows = (len(drawn) - GRID.columns) // GRID.hop + 1
    targets = window_targets(snr, [label], GRID, windows)
    marks = np.where(targets.present[:, 0] > 0, "x", ".")
    marks[targets.weights[:, 0] == 0] = "?"
    sounds = "".join("#" if each else "." for each in targets.sounding)
    return "".join(marks), sounds


@pytest.mark.parametrize(
    ("drawn", "marks"),
    [
        ("..............", "....."),
        ("##############", "xxxxx"),
        # Present while it is recent; then it only fills the older part of a window.
        ("......####....", ".xx??"),
        # One column is not yet enough of a lasting sound.
        (".....#........", "?????"[:3] + ".."),
        # A faint sound is neither.
        ("......--......", ".???."),
    ],
)
def test_a_lasting_label_is_present_while_it_is_recent(drawn: str, marks: str) -> None:
    assert targets_of(drawn)[0] == marks


def test_one_column_of_an_impulsive_label_is_enough() -> None:
    assert targets_of(".....#........", "gun_shot")[0] == "x??.."


def test_a_window_sounds_if_its_newest_hop_does() -> None:
    assert targets_of("......#-......")[1] == ".#..."


SPEC_SECONDS = {"newest_seconds": 3.0, "oldest_seconds": 7.0, "hold_score": 0.5}


@pytest.fixture(name="spec")
def _spec() -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "sample_rate": 10_000,
            "n_fft": 1000,
            "hop_length": 1000,
            "f_max": 5000.0,
            "background": {**SPEC_SECONDS, "longest_hold_seconds": 8.0},
        }
    )


def test_the_background_ended_some_seconds_before(spec: ModelSpec) -> None:
    # A hop of ten frames is a second.
    ranges = background_ranges(np.zeros(10, bool), spec, 10)
    assert ranges.tolist()[:4] == [[0, 0], [0, 0], [0, 0], [0, 1]]
    assert ranges.tolist()[9] == [2, 7]


def test_a_sound_holds_the_background_before_it_for_a_time(spec: ModelSpec) -> None:
    sounding = np.zeros(40, bool)
    sounding[12:15] = sounding[16:24] = True
    held = background_ranges(sounding, spec, 10)
    free = background_ranges(np.zeros(len(sounding), bool), spec, 10)
    assert held[11].tolist() == free[11].tolist()
    for window in range(12, 20):  # up to the longest hold, over a short pause
        assert held[window].tolist() == free[11].tolist()
    assert held[22].tolist() == free[22 - 8].tolist()
    assert held[26].tolist() == free[26 - 8].tolist()
    assert held[27].tolist() == free[27].tolist()
