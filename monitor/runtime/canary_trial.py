"""One trial of the canary: the private path from samples to an event, in slices."""

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from monitor.audio.feed import Block
from monitor.audio.ring import Samples
from monitor.detection.presets import LabelRule
from monitor.model.classifier import Classifier
from monitor.model.golden import TOLERANCES, golden_signal
from monitor.records import Event, PlacedRecord, ScoreFrame
from monitor.runtime.canary_sound import Mixture
from monitor.runtime.pipeline import Pipeline

GOLDEN = "golden"
MIXED = "mixed"
"""The sources of the pipeline of a trial."""

TIME_SECONDS = 1.0
"""An event must begin so close to where the sound does."""

_GPU_TOLERANCE = 0.02
"""A GPU may compute in shorter numbers; in scores."""

MakePipeline = Callable[[], Pipeline]
"""Makes a pipeline like the one in use, of its own state, with the two sources."""


@dataclass(frozen=True, slots=True)
class Ears:
    """What is tried: network, rules and front end as they are in use."""

    classifier: Classifier
    """The very one that is in use."""

    rules: Mapping[str, LabelRule]
    hop_samples: int
    gate_dbfs: float
    make_pipeline: MakePipeline


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trial ended."""

    complaint: str
    """What went wrong, for people; empty: nothing."""

    score: float
    """The highest score of the sound; not a number if none was mixed in."""

    @property
    def ok(self) -> bool:
        """Whether everything came out as it must."""
        return not self.complaint


Slices = Generator[None, None, Verdict]
"""Computes a window at most from one `next` to the following; returns the verdict."""


def run_trial(ears: Ears, label: str, mixture: Mixture | None) -> Slices:
    """Recompute the golden vector, then hear the mixture.

    Nothing of it leaves the pipeline made for it.

    Args:
        ears: What is tried.
        label: Of the sound.
        mixture: What is heard; None: the golden vector is all.
    """
    pipeline = ears.make_pipeline()
    yield
    signal = golden_signal(ears.classifier.spec)
    yield
    complaint = _golden_complaint(ears.classifier, pipeline, signal)
    if complaint or mixture is None:
        return Verdict(complaint, math.nan)
    yield
    records: list[PlacedRecord] = []
    for block in _blocks(mixture, ears):
        records += pipeline.process([(MIXED, block)])
        if not _is_finite(records):
            return Verdict("the network gives numbers that are not finite", math.nan)
        yield
    records += pipeline.finish(MIXED, "stopped")
    return _judge(ears, label, mixture, records)


def _golden_complaint(
    classifier: Classifier, pipeline: Pipeline, signal: Samples
) -> str:
    """Compare the scores of the golden signal with those in the model file."""
    golden = classifier.golden
    if golden is None:
        return ""
    frame = next(
        record
        for record in pipeline.process([(GOLDEN, Block(0, signal))])
        if isinstance(record, ScoreFrame)
    )
    differences = np.abs(np.array(frame.scores) - golden.scores.numpy())
    worst = int(differences.argmax())
    on_cpu = classifier.compute_device == "cpu"
    if differences[worst] <= (TOLERANCES["scores"] if on_cpu else _GPU_TOLERANCE):
        return ""
    return (
        "front end or network compute other numbers than where the model was saved: "
        f"{classifier.labels[worst]} scores {frame.scores[worst]:.3f} instead of "
        f"{float(golden.scores[worst]):.3f} in the golden signal"
    )


def _blocks(mixture: Mixture, ears: Ears) -> Iterable[Block]:
    """The samples of the first window, then those of one hop at a time."""
    stop, total = ears.classifier.spec.window_samples, mixture.samples.shape[1]
    start = 0
    while start < total:
        yield Block(start, mixture.samples[:, start:stop])
        start, stop = stop, min(stop + ears.hop_samples, total)


def _is_finite(records: list[PlacedRecord]) -> bool:
    frames = [record for record in records if isinstance(record, ScoreFrame)]
    return not frames or all(map(math.isfinite, frames[-1].scores))


def _judge(
    ears: Ears, label: str, mixture: Mixture, records: Iterable[PlacedRecord]
) -> Verdict:
    index = ears.classifier.labels.index(label)
    frames = [record for record in records if isinstance(record, ScoreFrame)]
    score = max(frame.scores[index] for frame in frames)
    errors = [
        ears.classifier.spec.seconds(record.start - mixture.start)
        for record in records
        if isinstance(record, Event) and record.label == label
    ]
    threshold = ears.rules[label].onset_threshold
    if errors:
        error = min(errors, key=abs)
        way = "late" if error > 0 else "early"
        complaint = f"{label} was heard {abs(error):.1f} s too {way}"
        return Verdict("" if abs(error) <= TIME_SECONDS else complaint, score)
    if score < threshold:
        return Verdict(
            f"{label} scored {score:.2f} at the most, below its threshold of "
            f"{threshold:.2f}",
            score,
        )
    return Verdict(f"{label} scored {score:.2f}, but its rule told no event", score)
