"""Rules and detectors for tests, and what a detector makes of frames."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from monitor.detection.detector import Detector
from monitor.detection.rules import LabelRule
from monitor.records import Event, Onset, ScoreFrame

GATE_DBFS = -70.0


def rule(**changes: float) -> LabelRule:
    """A rule with thresholds 0.7 and 0.4 that adds nothing, but for `changes`."""
    settings = {
        "onset_threshold": 0.7,
        "offset_threshold": 0.4,
        "smoothing_hops": 1,
        "min_duration_on": 0,
        "min_duration_off": 0,
        "refractory": 0,
        "margin": 0.0,
        "shortest_sound": 1,
    }
    return LabelRule(**{**settings, **changes})  # type: ignore[arg-type]


def detector(*rules: LabelRule, session: str = "session") -> Detector:
    """A detector for labels named a, b, …, with a rule each."""
    labels = [chr(ord("a") + index) for index in range(len(rules))]
    return Detector(
        "street", labels, dict(zip(labels, rules, strict=True)), GATE_DBFS, "m", session
    )


@dataclass(frozen=True, slots=True)
class Told:
    """An onset or event, and the end of the frame that told it; None: the finish."""

    record: Onset | Event
    told_at: int | None


def told(watcher: Detector, frames: Iterable[ScoreFrame]) -> list[Told]:
    """All that a detector tells of frames, and when, the finish included."""
    records = [
        Told(record, frame.stop) for frame in frames for record in watcher.push(frame)
    ]
    last = watcher.finish("end-of-input")
    return records + [Told(record, None) for record in last]


def stretches(records: Sequence[Told], label: str = "a") -> list[tuple[int, int]]:
    """Start and stop of each event of `label`."""
    return [
        (each.record.start, each.record.stop)
        for each in records
        if isinstance(each.record, Event) and each.record.label == label
    ]


def onsets(records: Sequence[Told], label: str = "a") -> list[tuple[int, int | None]]:
    """Start of each onset of `label`, and the end of the frame that told it."""
    return [
        (each.record.start, each.told_at)
        for each in records
        if isinstance(each.record, Onset) and each.record.label == label
    ]
