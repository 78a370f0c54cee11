"""Ambience: hours without any label, scored window by window as the monitor does."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.audio.timeline import Block
from monitor.audio.weighting import AWeighting
from monitor.config.detection import DetectionSettings
from monitor.detection.rules import resolve_rules
from monitor.model.frontend import LogMel
from monitor.runtime.windowing import Windower, WindowGrid
from monitor.spec import ModelSpec

Array = NDArray[np.float32]
Score = Callable[[Array], Array]
"""Maps log-mel windows (batch, 1 or 2, n_mels, frames) to (batch, labels)."""
_DEFAULT = DetectionSettings()
_SEGMENT_HOPS = 9
"""Hops of one trial: about 5 s, so that trials hardly share a sound."""


@dataclass(frozen=True, slots=True)
class Ambience:
    """Logits of the windows of some hours without any label."""

    logits: Array
    """(streams, hops, labels)."""
    hop_seconds: float
    serves: tuple[int, ...]
    """The parts whose thresholds it may set: they are tested on no sound of it."""


def hop_seconds(spec: ModelSpec, detection: DetectionSettings = _DEFAULT) -> float:
    """Seconds from one window to the next."""
    return spec.seconds(detection.hop_frames * spec.hop_length)


def segment_seconds(spec: ModelSpec, detection: DetectionSettings = _DEFAULT) -> float:
    """Seconds of sound in the windows of one segment."""
    hops = (_SEGMENT_HOPS - 1) * hop_seconds(spec, detection)
    return spec.seconds(spec.window_samples) + hops


def score_stream(
    blocks: Iterable[Array],
    score: Score,
    spec: ModelSpec,
    detection: DetectionSettings = _DEFAULT,
) -> Array:
    """Scores or logits of all windows of a stream, cut by the monitor's own windowing.

    The blocks are (1 or 2, n) each.

    Returns:
        (hops, labels); (0, 0) if the stream is shorter than a window.
    """
    grid = WindowGrid.of(spec, detection.hop_frames)
    weighting = AWeighting(spec.sample_rate)
    windowing = Windower(LogMel(spec), weighting, grid, level_offset_db=0.0)
    found: list[Array] = []
    start = 0
    for block in blocks:
        samples = np.ascontiguousarray(block, np.float32)
        windows = windowing.push(Block(start, samples))
        start += samples.shape[1]
        for first in range(0, len(windows), _SEGMENT_HOPS):
            batch = windows[first : first + _SEGMENT_HOPS]
            found.append(score(np.stack([np.asarray(w.log_mel) for w in batch])))
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)


def highest_of_segments(
    scores: Array,
    labels: Sequence[str],
    spec: ModelSpec,
    detection: DetectionSettings = _DEFAULT,
) -> tuple[Array, int]:
    """Find the highest score that detection would see in every few seconds.

    Scores are (streams, hops, labels), in [0, 1]; detection averages them over hops.

    Returns:
        (segments, labels), and the hops of a segment.
    """
    averaged = averaged_scores(scores, labels, spec, detection)
    segments = averaged.shape[1] // _SEGMENT_HOPS
    kept = averaged[:, : segments * _SEGMENT_HOPS]
    shaped = kept.reshape(-1, _SEGMENT_HOPS, len(labels))
    return np.asarray(shaped.max(axis=1), np.float32), _SEGMENT_HOPS


def averaged_scores(
    scores: Array,
    labels: Sequence[str],
    spec: ModelSpec,
    detection: DetectionSettings = _DEFAULT,
) -> Array:
    """Average scores (streams, hops, labels) over hops, as detection does."""
    rules = resolve_rules(labels, detection.without_thresholds(), None, spec)
    averaged = [
        _moving_average(scores[..., index], rules[label].smoothing_hops)
        for index, label in enumerate(labels)
    ]
    return np.stack(averaged, axis=-1)


def _moving_average(scores: Array, hops: int) -> Array:
    padded = np.concatenate([scores[:, :1]] * (hops - 1) + [scores], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, hops, axis=1)
    return np.asarray(windows.mean(axis=-1), np.float32)
