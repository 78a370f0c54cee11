"""The pictures of a run: no name is cut, whatever its length and their number."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from monitor.model.thresholds import CurvePoint
from training.report import pictures

HOSTILE = ["<b>&\"' $x^2$", "W" * 63, "a name of many words " * 3]


def labels(count: int) -> list[str]:
    return [*HOSTILE, *(f"engine_idling_{number}" for number in range(count))][:count]


def plain(name: str) -> str:
    """A name without the spaces at which it may be broken."""
    return name.replace(" ", "")


def assert_no_text_is_cut(figure: Figure) -> None:
    """All that is drawn lies within the figure, and panels are left."""
    figure.draw_without_rendering()
    drawn, (wide, high) = figure.get_tightbbox(), figure.get_size_inches()
    assert -0.02 <= drawn.x0 <= drawn.x1 <= wide + 0.02
    assert -0.02 <= drawn.y0 <= drawn.y1 <= high + 0.02
    assert all(axes.get_window_extent().width > 20 for axes in figure.axes)
    assert not any(text.get_parse_math() for text in figure.findobj(Text))


@pytest.mark.parametrize("names", [HOSTILE[:2], labels(13), labels(50)])
def test_a_confusion_matrix_is_square_and_names_its_labels(names: list[str]) -> None:
    count = len(names)
    figure = pictures.confusion_matrix(np.eye(count, dtype=int) * 1234, names)
    assert_no_text_is_cut(figure)
    (axes,) = figure.axes
    panel = axes.get_window_extent()
    assert panel.width == pytest.approx(panel.height, rel=0.01)
    # The longest name takes no more than a part of the picture.
    assert figure.get_size_inches()[0] - panel.width / figure.dpi < 3
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        extents = [tick.get_window_extent() for tick in ticks]
        assert not any(one.overlaps(other) for one, other in pairwise(extents))
    cell = panel.width / count
    assert all(text.get_window_extent().width < cell for text in axes.texts)
    shown = [tick.get_text().replace("\n", "") for tick in axes.get_yticklabels()]
    assert list(map(plain, shown)) == list(map(plain, names))


@pytest.mark.parametrize("names", [HOSTILE, labels(8)])
def test_figures_by_label_have_room_for_their_names(names: list[str]) -> None:
    count = len(names)
    truth = np.arange(3 * count) % (count - 1)  # the last label has no clips
    scores = np.random.default_rng(0).random((3 * count, count)).astype(np.float32)
    for draw in (pictures.precision_recall, pictures.reliability):
        figure = draw(scores, truth, names)
        assert_no_text_is_cut(figure)
        titles = [axes.title.get_window_extent() for axes in figure.axes[:count]]
        for one, other in pairwise(titles):
            assert not one.overlaps(other)
    empty = pictures.precision_recall(scores, truth, names).axes[count - 1]
    assert [text.get_text() for text in empty.texts] == ["no clips"]


@pytest.mark.parametrize("names", [["W" * 90], labels(50)])
def test_curves_are_named_beside_the_panels(names: list[str]) -> None:
    points = [
        CurvePoint(
            onset=0.9 - step / 10,
            false_alarms_per_hour=0.1 * step,
            false_alarms_per_hour_at_most=0.2 * step,
            detected_near=step / 10,
            detected_far=step / 10,
            latency_seconds=1,
        )
        for step in range(9)
    ]
    line = {"epoch": 1, "loss": 1.0, "accuracy": 0.5, "validation": {"loss": 1.0}}
    for figure in (
        pictures.detection_curves(dict.fromkeys(names, points)),
        pictures.learning_curves({name: [line] for name in names}),
    ):
        assert_no_text_is_cut(figure)
        (legend,) = figure.legends
        named = [text.get_text().replace("\n", "") for text in legend.get_texts()]
        assert set(map(plain, names)) <= set(map(plain, named))
        for axes in figure.axes:
            assert not legend.get_window_extent().overlaps(axes.get_tightbbox())
            ticks = [tick.get_text() for tick in axes.get_xticklabels()]
            assert not any("$" in tick for tick in ticks)


def test_titles_of_windows_stand_above_them_and_beside_each_other() -> None:
    windows = np.zeros((4, 1, 64, 344), np.float32)
    titles = ["no label", ", ".join(HOSTILE), "W" * 63, "siren"]
    figure = pictures.training_batch(windows, titles)
    assert_no_text_is_cut(figure)
    extents = [text.get_window_extent() for text in figure.axes[0].texts]
    for index, one in enumerate(extents):
        assert not any(one.overlaps(other) for other in extents[index + 1 :])


def test_lines_break_where_words_end() -> None:
    assert pictures.fitting("children_playing outside", 0.9) == (
        "children_\nplaying\noutside"
    )
    assert pictures.fitting("siren", 0.9) == "siren"
    assert pictures.fitting("", 0.9) == ""
    assert pictures.fitting("W" * 12, 0.5).replace("\n", "") == "W" * 12
