"""Masks of places: where a teacher detects a label, a place says nothing about it.

A horn in the recording of a street is no false alarm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.spec import ModelSpec
from training.distill.teacher import Teacher, classes_of
from training.mixtures.augment import set_peak

Array = NDArray[np.float32]
_TEACHER_HOPS = 7
"""Hops from one window of the teacher to the next: they hardly overlap."""
_TEACHER_PEAK_DB = -5.0


@dataclass(frozen=True, slots=True)
class TeacherMask:
    """A teacher that detects labels in places, which should have none."""

    teacher: Teacher
    labels: Sequence[str]
    classes: Mapping[str, Sequence[int]] | None
    """Its classes that mean a label; see `classes_of`."""
    score: float
    """From which on it detects one."""

    def detected(self, windows: Sequence[Array], rate: int) -> NDArray[np.bool_]:
        """(windows, labels) of windows (1, n)."""
        found = np.zeros((len(windows), len(self.labels)), bool)
        limit = np.log(self.score / (1 - self.score))
        for row, window in zip(found, windows, strict=True):
            loud = set_peak(window, _TEACHER_PEAK_DB)
            logits = self.teacher.run(self.teacher.waveform(loud, rate)).logits
            if logits is None:
                continue
            classes = classes_of(self.labels, logits.shape[1], self.classes)
            for label, own in enumerate(classes):
                row[label] = any(logits[0, index] >= limit for index in own)
        return found

    def windows(
        self, samples: Array, spec: ModelSpec, hop_frames: int, windows: int
    ) -> NDArray[np.bool_]:
        """Return where a window says nothing about false alarms of a label.

        Args:
            samples: Of a place, (1, n).
            spec: Of the windows.
            hop_frames: From one window to the next.
            windows: Their number.

        Returns:
            (windows, labels), True where the teacher detects the label in the window
            or next to it.
        """
        chosen = range(0, windows, _TEACHER_HOPS)
        starts = [window * hop_frames * spec.hop_length for window in chosen]
        sounds = [samples[:, at : at + spec.window_samples] for at in starts]
        found = self.detected(sounds, spec.sample_rate)
        nearest = (np.arange(windows) + _TEACHER_HOPS // 2) // _TEACHER_HOPS
        return np.asarray(found[nearest.clip(max=len(found) - 1)])
