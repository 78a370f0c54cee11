from pathlib import Path

import numpy as np

from training.data.manifest import Clip
from training.evaluate.ambience import Ambience
from training.evaluate.clips import ClipWindows
from training.evaluate.out_of_fold import OutOfFold, OutOfFoldLogits
from training.recipes import training_settings

LABELS = ("horn", "rain")


def out_of_fold() -> OutOfFold:
    """Two labels that are distinguished, and an hour with false alarms of both."""
    r = np.random.default_rng(0)
    truth = np.arange(80) % 2
    clips = tuple(
        Clip(Path(f"{n}.wav"), int(label), str(n), fold=1 + n % 2)
        for n, label in enumerate(truth)
    )
    logits = r.normal(-4, 1, (80, 2)).astype(np.float32)
    logits[np.arange(80), truth] += 7
    windows = ClipWindows(clips, np.zeros((80, 1, 1, 1), np.float16), np.arange(80))
    own = OutOfFoldLogits(windows, logits, np.array([clip.fold for clip in clips]))
    hours = r.normal(-1, 1.5, (12, 540, 2)).astype(np.float32)
    return OutOfFold(own, None, (Ambience(hours, 0.557, (2,)),))


def test_a_part_gets_thresholds_only_from_what_it_is_not_tested_on() -> None:
    predicted = out_of_fold()
    settings = training_settings({}, origin="test")
    _, calibrations = predicted.conclude(LABELS, settings)
    assert set(calibrations) == {1, 2}
    assert calibrations[1].thresholds == ()  # the only ambience serves the other part
    assert len(calibrations[2].thresholds) == 2
