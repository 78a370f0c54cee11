"""Rules and detectors for tests, and the records of frames."""

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
    return LabelRule(**{**settings, **changes})


def detector(*rules: LabelRule, session: str = "session") -> Detector:
    """A detector for labels named a, b, …, with a rule each."""
    labels = [chr(ord("a") + index) for index in range(len(rules))]
    return Detector(
        "street", labels, dict(zip(labels, rules, strict=True)), GATE_DBFS, "m", session
    )


@dataclass(frozen=True, slots=True)
class Detected:
    """An onset or event, and the end of its frame; None: the finish."""

    record: Onset | Event
    reported_at: int | None


def detected(tested: Detector, frames: Iterable[ScoreFrame]) -> list[Detected]:
    """All records that a detector makes of frames, the finish included."""
    records = [
        Detected(record, frame.stop)
        for frame in frames
        for record in tested.push(frame)
    ]
    last = tested.finish("end-of-input")
    return records + [Detected(record, None) for record in last]


def intervals(records: Sequence[Detected], label: str = "a") -> list[tuple[int, int]]:
    """Start and stop of each event of `label`."""
    return [
        (each.record.start, each.record.stop)
        for each in records
        if isinstance(each.record, Event) and each.record.label == label
    ]


def onsets(
    records: Sequence[Detected], label: str = "a"
) -> list[tuple[int, int | None]]:
    """Start of each onset of `label`, and the end of its frame."""
    return [
        (each.record.start, each.reported_at)
        for each in records
        if isinstance(each.record, Onset) and each.record.label == label
    ]
