"""Recordings of a background are scored as the monitor scores them."""

from pathlib import Path

import numpy as np
import soundfile

from monitor.config.config import Config
from monitor.config.detection import DetectionSettings
from monitor.model.classifier import Classifier
from monitor.records import ScoreFrame
from monitor.runtime.offline import analyze_file
from tests.support.models import WITH_BACKGROUND, stored_model
from training.evaluate.ambience import highest_of_segments
from training.evaluate.recalibrate import background_scores

RATE = 44_100


def test_a_background_is_scored_as_it_would_be_by_the_monitor(tmp_path: Path) -> None:
    """With the background of each window, and without windows below the level gate."""
    r = np.random.default_rng(0)
    levels = np.repeat(r.uniform(0.01, 0.3, 40), RATE)
    levels[10 * RATE : 26 * RATE] = 1e-5
    for name in ("one", "other"):  # the second begins without a background
        noise = levels * r.standard_normal(len(levels))
        soundfile.write(tmp_path / f"{name}.wav", noise.clip(-1, 1), RATE, "FLOAT")
    # The rules of another model decide nothing.
    detection = DetectionSettings(sensitivity=0.9)
    classifier = Classifier(stored_model("mobile", WITH_BACKGROUND), "cpu")
    found, _ = background_scores(tmp_path, classifier, detection, lambda *_: None)
    expected, silent = [], 0
    for name in ("one", "other"):
        path = tmp_path / f"{name}.wav"
        records = analyze_file(path, classifier, Config(), source="s").records
        frames = [r.record for r in records if isinstance(r.record, ScoreFrame)]
        silent += sum(not frame.is_computed for frame in frames)
        scores = np.array([[frame.scores for frame in frames]], np.float32)
        highest, _ = highest_of_segments(
            scores, classifier.labels, classifier.spec, DetectionSettings()
        )
        expected.append(highest)
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-6)
    assert silent > 10
    assert found.min() == 0
