"""An epoch is a line of the log."""

import io
import logging

import pytest
from rich.console import Console

from training.progress import Display, EpochReport


def test_a_work_is_announced_once_where_no_bar_shows_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal)
        display = Display(console)
        for title in ("heads of fold1", "heads of fold2"):
            display.title = title
            display.announce("making streams")
            display.announce("making streams")
        count = 0 if is_terminal else 2
        assert len(caplog.records) == count
    assert caplog.messages == [
        "heads of fold1: making streams",
        "heads of fold2: making streams",
    ]


def test_a_line_of_the_log_has_no_figure_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    display = Display(Console(quiet=True))
    display.epoch(EpochReport(1, 2, 0.5, 0.25, 0.1, {"scores": 0.5}, {"accuracy": 0.2}))
    display.epoch(EpochReport(2, 2, 0.5, 0.25, 0.1, {"scores": 0.3, "columns": 0.2}))
    lines = [record.getMessage().rpartition(" (")[0] for record in caplog.records]
    assert lines == [
        "training: epoch 1 of 2: loss 0.500, accuracy 0.250, validation accuracy 0.200",
        "training: epoch 2 of 2: loss 0.500, accuracy 0.250, scores 0.300, "
        "columns 0.200",
    ]
