"""A network that detects loudness, and places it to the frame."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.detection.rules import resolve_rules
from monitor.model.classifier import Classification
from monitor.model.engines import WindowPlace
from monitor.model.frontend import Array
from monitor.model.thresholds import Thresholds
from monitor.runtime.pipeline import Pipeline
from monitor.spec import ModelSpec

LOUD = "loud"
LOUD_DB = -5.0
"""Mean of the log-mel of a frame from which it is loud."""

# As few samples as will do: days of them are simulated.
SPEC = ModelSpec(
    sample_rate=4_000,
    n_fft=128,
    hop_length=64,
    n_mels=4,
    f_min=50,
    f_max=1_900,
    window_frames=64,
)


class LoudnessClassifier:
    """A classifier with one label, whose score follows from the loudness."""

    spec = SPEC
    labels = (LOUD,)
    name = "loud"
    total_stride = 1
    hop_frames_step = 1
    presets: ClassVar = {}
    network_digest = ""
    thresholds: ClassVar = {LOUD: Thresholds(onset=0.6, offset=0.4)}
    compute_device = "cpu"
    failed_compute_device = None

    def classify(
        self, windows: Array, places: Sequence[WindowPlace] = ()
    ) -> Classification:
        levels = windows.mean(axis=(1, 2))  # (batch, frames)
        activity = np.where(levels >= LOUD_DB, 0.95, 0.01).astype(np.float32)
        return Classification(activity.max(axis=1, keepdims=True), activity[:, None])


def loudness_pipeline(hop_frames: int = 16, **settings: float) -> Pipeline:
    """A pipeline of one source, "street", that detects what is loud.

    A sound may last hours: the records do not depend on how long it lasts.
    """
    label = LabelSettings(preset="impulsive", smoothing_hops=1, **settings)
    detection = DetectionSettings(labels={LOUD: label})
    classifier = LoudnessClassifier()
    rules = resolve_rules(classifier.labels, detection, classifier.thresholds, SPEC)
    return Pipeline(
        classifier,  # it has the members that a pipeline uses
        rules,
        hop_frames=hop_frames,
        level_gate_dbfs=-70.0,
        level_offsets_db={"street": 0.0},
        session="test",
    )
