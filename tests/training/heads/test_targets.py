"""Targets are drawn column by column: # audible, - faint, . silent."""

import numpy as np
import pytest

from training.heads.streams import ABSENT_DB
from training.heads.targets import WindowColumns, window_targets

GRID = WindowColumns(columns=6, recent=2, hop=2)
LEVELS = {"#": 5.0, "-": -20.0, ".": ABSENT_DB}


def targets_of(drawn: str, label: str = "siren") -> str:
    """Windows with the label (x), without (.) and of no weight (?), by the drawing."""
    snr = np.array([[LEVELS[each]] for each in drawn], np.float32)
    windows = (len(drawn) - GRID.columns) // GRID.hop + 1
    targets = window_targets(snr, [label], GRID, windows)
    marks = np.where(targets.present[:, 0] > 0, "x", ".")
    marks[targets.weights[:, 0] == 0] = "?"
    return "".join(marks)


@pytest.mark.parametrize(
    ("drawn", "marks"),
    [
        ("..............", "....."),
        ("##############", "xxxxx"),
        # Present while it is recent; then it only fills the older part of a window.
        ("......####....", ".xx??"),
        # One column is not yet enough of a lasting sound.
        (".....#........", "???.."),
        # A faint sound is neither.
        ("......--......", ".???."),
    ],
)
def test_a_lasting_label_is_present_while_it_is_recent(drawn: str, marks: str) -> None:
    assert targets_of(drawn) == marks


def test_one_column_of_an_impulsive_label_is_enough() -> None:
    assert targets_of(".....#........", "gun_shot") == "x??.."
