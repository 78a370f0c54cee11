"""The backgrounds of streams are those that the monitor would have."""

import numpy as np

from monitor.model.background import Background
from monitor.spec import BackgroundSpec, ModelSpec
from training.heads.backgrounds import backgrounds

SPEC = ModelSpec(background=BackgroundSpec())
HOP = 48
WINDOWS = 40


def found(present: slice) -> np.ndarray:
    """(windows, windows): the share of each window in the background of each."""
    targets = np.zeros((WINDOWS, 1), np.float16)
    targets[present] = 1
    return backgrounds(np.eye(WINDOWS, dtype=np.float32), targets, SPEC, HOP)


def test_a_window_without_a_background_is_compared_with_itself():
    own = found(slice(0))
    assert [int(row.argmax()) for row in own[:8]] == [0, 1, 2, 3, 4, 5, 0, 0]
    assert own[7, :2].tolist() == [0.5, 0.5]


def test_what_is_to_be_detected_is_held_as_the_monitor_holds_it():
    own = found(slice(20, 30))
    live = Background(SPEC)
    for window, row in enumerate(own):
        before = live.before(window * HOP)
        if before is not None:
            assert row.tolist() == before.tolist()
        score = 0.9 if 20 <= window < 30 else 0.1
        one_hot = np.eye(WINDOWS, dtype=np.float32)[window]
        live.add(window * HOP, one_hot, np.full(1, score, np.float32))
    assert own[:, 20:30].sum() == 0
    assert (own[20:30] == own[20]).all()
