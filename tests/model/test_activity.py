"""Where a score comes from, drawn: # highest, + at least half of it, . less."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from monitor.model.classifier import active_spans, span_samples

SCORES = {"#": 0.8, "+": 0.5, "-": 0.4, ".": 0.1}


def drawn(*labels: str) -> np.ndarray:
    return np.array([[[SCORES[c] for c in label] for label in labels]], np.float32)


@pytest.mark.parametrize(
    ("activity", "span"),
    [
        ("....#.....", (4, 5)),
        ("...+#+....", (3, 6)),
        ("...-#-....", (3, 6)),  # exactly half of the peak still counts
        ("..+..#..+.", (2, 9)),  # lulls of two columns are bridged
        (".+...#...+", (5, 6)),  # of three they are not
        (".+..+..#+.", (1, 9)),  # bridges join
        ("#.........", (0, 1)),  # at the edges of the window
        (".........#", (9, 10)),
        ("+++++#++++", (0, 10)),
        ("..........", (0, 10)),  # all alike: the score comes from everywhere
        ("+...#...++", (4, 5)),  # only the run that holds the highest column
        ("....#..+..", (4, 8)),  # a bridge needs only one column behind it
        ("+..#......", (0, 4)),
    ],
)
def test_the_span_is_the_run_around_the_highest_column(
    activity: str, span: tuple[int, int]
):
    assert active_spans(drawn(activity))[0, 0].tolist() == list(span)
    mirrored = [len(activity) - span[1], len(activity) - span[0]]
    assert active_spans(drawn(activity[::-1]))[0, 0].tolist() == mirrored


def test_each_label_of_each_window_has_its_own_span():
    batch = np.concatenate([drawn("#....", "...#."), drawn("++#++", "....#")])
    assert active_spans(batch).tolist() == [[[0, 1], [3, 4]], [[0, 5], [4, 5]]]


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, max_side=12),
        elements=st.floats(0, 1, width=32),
    )
)
def test_the_span_holds_the_highest_column_and_lies_in_the_window(
    activity: np.ndarray,
):
    spans = active_spans(activity)
    highest = activity.argmax(axis=-1)
    assert spans.shape == (*activity.shape[:2], 2)
    assert (spans[..., 0] >= 0).all()
    assert (spans[..., 0] <= highest).all()
    assert (highest < spans[..., 1]).all()
    assert (spans[..., 1] <= activity.shape[-1]).all()


def test_a_column_stands_for_half_a_stride_around_the_centre_of_its_frame():
    column = np.array([11, 12])
    start, stop = span_samples(column, total_stride=16, hop_length=512, n_fft=1024)
    assert stop - start == 16 * 512
    assert (start + stop) / 2 == 11 * 16 * 512 + 1024 / 2


def test_no_span_begins_before_the_window():
    assert span_samples(np.array([0, 1]), 16, 512, 1024).tolist() == [0, 4608]
