"""Thresholds of the labels of a catalogue from places, and their figures.

Each threshold comes from places alone, and rates of false alarms from places that did
not set it.  Clips are measured, and nothing is fitted to them.  But the margins and the
bounds of thresholds, the same for all labels, were chosen by the false alarms in places
that did not set the thresholds, with an eye on the share of the clips that is detected:
these figures flatter a little.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from monitor.config.detection import DetectionSettings
from monitor.errors import DatasetError
from monitor.model.catalogue import ClipFigures
from monitor.model.models import Models
from monitor.model.thresholds import CURVE_POINTS, CurvePoint, Thresholds, highest_rate
from monitor.text import counted
from training.data.decoded import Advance
from training.data.places import PLACE_PARTS, Places
from training.evaluate.in_places import PlaceScores, score_events, score_places
from training.evaluate.place_figures import FAR_DB, NEAR_DB
from training.streams.metrics import (
    Detected,
    Reference,
    StreamResult,
    detections,
    false_alarms,
)
from training.streams.scenes import SceneClips
from training.streams.scored import ScoredStream, detect, score_frames
from training.world.catalogue import Entry

MARGIN, NEXT_MARGIN = 1.0, 2.0
"""Logits of an onset threshold above the highest score in places, or above that of the
next one, whichever is lower: one odd place must not silence a label everywhere."""

LOWEST_ONSET, HIGHEST_ONSET = 0.07, 0.9
OFFSET_SHARE = 0.6
STEP = 0.4
"""Logits from one point of a curve to the next."""

FEWEST_PLACES = 2
"""Recordings that set a threshold: the highest score, and the next one."""

PASSES = 2
SEED = 0
_MIDDLE = CURVE_POINTS // 2
_LIMITS = (0.02, 0.995)


@dataclass(frozen=True, slots=True)
class ScoredPlaces:
    """Scores of the labels of a catalogue in places, and under events in them."""

    parts: tuple[PlaceScores, ...]
    hours: float
    """Length of the places."""


def score_all(
    models: Models,
    places: Places,
    clips: SceneClips,
    labels: Sequence[str],
    advance: Advance,
) -> ScoredPlaces:
    """Score all places alone, and under events of clips; `labels` are of the clips."""
    parts = []
    for part in range(PLACE_PARTS):
        scored = score_places(models, places, part, {}, SEED, advance)
        events = score_events(
            models, places, part, clips, PASSES, SEED, advance, labels
        )
        parts.append(replace(scored, events=events))
    ends = [each.frames[-1].stop for part in parts for each in part.alone]
    return ScoredPlaces(tuple(parts), models.spec.seconds(sum(ends)) / 3600)


def clip_scores(
    models: Models, clips: SceneClips, advance: Advance
) -> NDArray[np.float32]:
    """Highest score of each label in each clip, (clips, labels)."""
    highest = []
    for number, clip in enumerate(clips.clips, start=1):
        samples = clips.mono(clip)
        missing = max(0, models.spec.window_samples - len(samples))
        block = np.pad(samples, (0, missing))[None]
        frames = score_frames(iter([block]), models, DetectionSettings())
        highest.append(np.max([frame.scores for frame in frames], axis=0))
        advance("scoring clips", number, len(clips.clips))
    return np.array(highest, np.float32)


def clip_figures(
    scores: NDArray[np.float32],
    names: Sequence[str],
    entry: Entry,
    onset: float,
) -> ClipFigures | None:
    """Figures of one label; `scores` are its (clips,), `names` what they are of.

    None: no clip has it.
    """
    kinds = np.array(names)
    has = np.isin(kinds, entry.clips)
    counts = has | ~np.isin(kinds, entry.also)
    if not has.any():
        return None
    return ClipFigures(
        clips=int(has.sum()),
        average_precision=round(
            float(average_precision_score(has[counts], scores[counts])), 4
        ),
        detected=round(float((scores[has] >= onset).mean()), 4),
    )


class LabelInPlaces:
    """One label: its threshold, and its figures in places and under events."""

    def __init__(
        self, label: str, entry: Entry, scored: ScoredPlaces, models: Models
    ) -> None:
        """Take the scores of one label.

        Raises:
            DatasetError: Fewer than `FEWEST_PLACES` recordings of places set its
                threshold.
        """
        self._label, self._entry, self._models = label, entry, models
        index = models.labels.index(label)
        self._parts = [
            (
                part.part,
                [_only(s, index) for s in part.alone if not entry.may_sound_in(s.name)],
                [_only(s, index, label, entry.clips) for s in part.events],
            )
            for part in scored.parts
        ]
        counts = [len(alone) for _, alone, _ in self._parts]
        if (left := sum(counts) - max(counts)) < FEWEST_PLACES:
            raise DatasetError(
                f"--places: {counted(left, 'recording')} can set the threshold of "
                f"{label}, besides those that measure it or may have it; give "
                f"at least {FEWEST_PLACES}"
            )

    def onset(self, without: int | None = None) -> float:
        """Onset threshold from the places, but for those of one part."""
        tops = sorted(
            max(frame.scores[0] for frame in stream.frames)
            for part, alone, _ in self._parts
            if part != without
            for stream in alone
        )
        onset = min(_moved(tops[-1], MARGIN), _moved(tops[-2], NEXT_MARGIN))
        return round(min(max(onset, LOWEST_ONSET), HIGHEST_ONSET), 4)

    def thresholds(self) -> Thresholds:
        """Thresholds with a curve, whose rates are of thresholds from other places."""
        middle = self.onset()
        points = []
        for index in range(CURVE_POINTS):
            shift = STEP * (_MIDDLE - index)
            onset = middle if index == _MIDDLE else round(_bounded(middle, shift), 4)
            points.append(self._point(onset, shift))
        return Thresholds(
            onset=middle,
            offset=round(OFFSET_SHARE * middle, 4),
            false_alarms_per_hour=points[_MIDDLE].false_alarms_per_hour,
            curve=tuple(points),
        )

    def _point(self, onset: float, shift: float) -> CurvePoint:
        alarms, seconds = 0, 0.0
        pairs: list[tuple[Reference, Detected | None]] = []
        for part, alone, events in self._parts:
            elsewhere = _bounded(self.onset(without=part), shift)
            for result in self._detect(alone, elsewhere):
                alarms += len(false_alarms(result, self._label))
                seconds += result.seconds
            if self._entry.clips:
                pairs += detections(self._detect(events, onset), self._label)
        hours = max(seconds, 1.0) / 3600
        latencies = [it.reported - true.onset for true, it in pairs if it is not None]
        return CurvePoint(
            onset=onset,
            detected_near=_share(pairs, NEAR_DB),
            detected_far=_share(pairs, FAR_DB),
            latency_seconds=float(np.median(latencies)) if latencies else None,
            false_alarms_per_hour=alarms / hours,
            false_alarms_per_hour_at_most=highest_rate(alarms, hours),
        )

    def _detect(
        self, streams: Sequence[ScoredStream], onset: float
    ) -> Iterator[StreamResult]:
        thresholds = {self._label: Thresholds(onset=onset, offset=OFFSET_SHARE * onset)}
        presets = {self._label: self._entry.preset}
        for stream in streams:
            yield detect(
                stream,
                (self._label,),
                self._models.spec,
                DetectionSettings(),
                thresholds,
                presets,
            )


def _only(
    stream: ScoredStream, index: int, label: str = "", clips: Sequence[str] = ()
) -> ScoredStream:
    """A stream with the scores of one label; its true events are those of `clips`."""
    frames = tuple(
        replace(frame, scores=(frame.scores[index],), spans=(frame.spans[index],))
        for frame in stream.frames
    )
    own = tuple(
        replace(each, label=label) for each in stream.references if each.label in clips
    )
    return replace(stream, frames=frames, references=own)


def _share(
    pairs: Sequence[tuple[Reference, Detected | None]], levels: tuple[float, float]
) -> float | None:
    low, high = levels
    own = [found for true, found in pairs if low <= true.snr_db < high]
    return float(np.mean([found is not None for found in own])) if own else None


def _bounded(score: float, shift: float) -> float:
    low, high = _LIMITS
    return min(max(_moved(score, shift), min(low, score)), max(high, score))


def _moved(score: float, logits: float) -> float:
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return 1 / (1 + math.exp(-(math.log(bounded / (1 - bounded)) + logits)))


def summary(found: Mapping[str, Thresholds]) -> dict[str, float]:
    """Means over the labels that were measured."""
    middles = [each.curve[_MIDDLE] for each in found.values() if each.curve]
    near = [it.detected_near for it in middles if it.detected_near is not None]
    far = [it.detected_far for it in middles if it.detected_far is not None]
    return {
        "detected_near": float(np.mean(near)) if near else math.nan,
        "detected_far": float(np.mean(far)) if far else math.nan,
        "false_alarms_per_hour": float(
            np.mean([each.false_alarms_per_hour for each in middles])
        ),
    }
