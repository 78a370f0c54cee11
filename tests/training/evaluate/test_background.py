"""Recordings of a background are scored as the monitor scores them."""

from pathlib import Path

import numpy as np
import soundfile

from monitor.config.detection import DetectionSettings
from monitor.model.classifier import Classifier
from monitor.records import ScoreFrame
from tests.support.models import WITH_BACKGROUND, stored_model
from training.evaluate.ambience import highest_of_segments
from training.evaluate.recalibrate import background_scores
from training.streams.evaluate import file_blocks, pipeline_records

RATE = 44_100


def test_a_model_that_knows_the_background_gets_it(tmp_path: Path) -> None:
    r = np.random.default_rng(0)
    levels = np.repeat(r.uniform(0.01, 0.3, 40), RATE)
    for name in ("one", "other"):  # the second begins without a background
        noise = levels * r.standard_normal(len(levels))
        soundfile.write(tmp_path / f"{name}.wav", noise.clip(-1, 1), RATE)
    detection = DetectionSettings()
    classifier = Classifier(stored_model("mobile", WITH_BACKGROUND), "cpu")
    found, _ = background_scores(tmp_path, classifier, detection, lambda *_: None)
    expected = []
    for name in ("one", "other"):
        blocks = file_blocks(tmp_path / f"{name}.wav", RATE)
        frames = [
            record.scores
            for record in pipeline_records(blocks, classifier, detection)
            if isinstance(record, ScoreFrame)
        ]
        scores = np.array([frames], np.float32)
        highest, _ = highest_of_segments(
            scores, classifier.labels, classifier.spec, detection
        )
        expected.append(highest)
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-6)
