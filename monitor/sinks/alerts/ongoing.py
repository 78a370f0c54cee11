"""What is known of sounds that are going on: scores, hits and levels so far."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.records import Event, LabelScore, Onset, ScoreFrame, Timed

MEMORY_FRAMES = 64
"""Newest windows kept of each source: an onset is told some windows after it began."""


@dataclass(slots=True)
class Sound:
    """One occurrence of a label: going on, or over."""

    id: str
    source: str
    label: str
    start_sample: int
    stop_sample: int
    """Where it was last heard, so far."""

    start_utc: datetime | None
    end_utc: datetime | None
    """None: it is going on, or its time is unknown."""

    duration_seconds: float
    peak_score: float
    mean_score: float
    level_dbfs: float
    laeq_db: float
    threshold: float | None
    """Score from which a window counts as a hit; None: unknown."""

    hits: int | None
    """Windows at or above the threshold; None: not counted, after a crash."""

    windows: int | None
    """Windows since it began."""

    top: tuple[LabelScore, ...]
    model: str
    end_reason: str | None = None


class Sounds:
    """Follows the sounds of all sources by their records."""

    def __init__(
        self, labels: Sequence[str], thresholds: Mapping[str, float], sample_rate: int
    ) -> None:
        """Begin with nothing.

        Args:
            labels: What the scores of frames stand for.
            thresholds: Onset threshold of each label.
            sample_rate: Of the positions in records.
        """
        self._index = {label: index for index, label in enumerate(labels)}
        self._thresholds = thresholds
        self._sample_rate = sample_rate
        self._frames: dict[str, deque[ScoreFrame]] = {}
        self._going_on: dict[str, Sound] = {}

    def change(
        self, labels: Sequence[str], thresholds: Mapping[str, float], sample_rate: int
    ) -> None:
        """Go on for another model, or with other thresholds for sounds to come."""
        index = {label: index for index, label in enumerate(labels)}
        if (index, sample_rate) != (self._index, self._sample_rate):
            self._frames.clear()
        self._index = index
        self._thresholds = thresholds
        self._sample_rate = sample_rate

    def begin(self, timed: Timed, onset: Onset) -> Sound:
        """Take an onset."""
        sound = self._sound(timed, onset)
        sound.hits, sound.windows, heard = 0, 0, None
        for frame in self._frames.get(onset.source, ()):
            if frame.stop > onset.start:
                heard = self._count(sound, frame) or heard
        if heard is not None:
            sound.stop_sample = heard
        self._measure(sound)
        self._going_on[onset.id] = sound
        return sound

    def hear(self, frame: ScoreFrame) -> list[Sound]:
        """Take a window; return the sounds of its source, which are going on."""
        frames = self._frames.setdefault(frame.source, deque(maxlen=MEMORY_FRAMES))
        frames.append(frame)
        sounds = [s for s in self._going_on.values() if s.source == frame.source]
        for sound in sounds:
            self._add(sound, frame)
        return sounds

    def end(self, timed: Timed, event: Event) -> Sound:
        """Take an event, also one whose onset was told before a crash."""
        before = self._going_on.pop(event.id, None)
        sound = self._sound(timed, event)
        sound.end_utc, sound.end_reason = timed.end_utc, event.end_reason
        if before is not None:
            sound.hits, sound.windows = before.hits, before.windows
        return sound

    def _sound(self, timed: Timed, record: Onset | Event) -> Sound:
        return Sound(
            id=record.id,
            source=record.source,
            label=record.label,
            start_sample=record.start,
            stop_sample=record.stop,
            start_utc=timed.start_utc,
            end_utc=None,
            duration_seconds=timed.end_seconds - timed.start_seconds,
            peak_score=record.peak_score,
            mean_score=record.mean_score,
            level_dbfs=record.level_dbfs,
            laeq_db=record.laeq_db,
            threshold=self._thresholds.get(record.label),
            hits=None,
            windows=None,
            top=record.top,
            model=record.model,
        )

    def _add(self, sound: Sound, frame: ScoreFrame) -> None:
        index = self._index.get(sound.label)
        if index is None:
            return
        weight = max(1, sound.windows or 0)
        score = frame.scores[index]
        heard = self._count(sound, frame)
        sound.peak_score = max(sound.peak_score, score)
        sound.mean_score = (sound.mean_score * weight + score) / (weight + 1)
        sound.level_dbfs = max(sound.level_dbfs, frame.level_dbfs)
        sound.laeq_db = _energy_mean(sound.laeq_db, weight, frame.laeq_db)
        if heard is not None:
            sound.stop_sample = max(sound.stop_sample, heard)
        self._measure(sound)

    def _count(self, sound: Sound, frame: ScoreFrame) -> int | None:
        """Count a window; return where it heard the label last, if it is a hit."""
        index = self._index.get(sound.label)
        if index is None:
            return None
        sound.windows = (sound.windows or 0) + 1
        if sound.threshold is not None and frame.scores[index] < sound.threshold:
            return None
        sound.hits = (sound.hits or 0) + 1
        return frame.spans[index][1]

    def _measure(self, sound: Sound) -> None:
        samples = max(0, sound.stop_sample - sound.start_sample)
        sound.duration_seconds = samples / self._sample_rate


def _energy_mean(mean_db: float, weight: int, level_db: float) -> float:
    """Mean level of `weight` hops of `mean_db` and one more, in dB."""
    if not math.isfinite(level_db):
        return mean_db
    if not math.isfinite(mean_db):
        return level_db
    energy = weight * 10 ** (mean_db / 10) + 10 ** (level_db / 10)
    return 10 * math.log10(energy / (weight + 1))
