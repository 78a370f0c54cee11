"""One trial of the canary: the private path from samples to an event, in slices.

The sound of the canary: what it is, and how it is mixed into what was captured.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.audio.conditioning import StreamResampler
from monitor.audio.ring import Samples
from monitor.audio.sources.demo import LABELS, render_sound
from monitor.audio.timeline import Block
from monitor.config.audio import CanaryLabel
from monitor.detection.feasibility import examine
from monitor.detection.rules import LabelRule
from monitor.model.classifier import Classifier
from monitor.model.golden import TOLERANCES, golden_signal
from monitor.records import Event, PlacedRecord, ScoreFrame
from monitor.runtime.pipeline import Pipeline
from monitor.spec import ModelSpec

SHORTEST_SECONDS = 3.0
LONGEST_SECONDS = 30.0
"""A rule that wants to hear more than this costs too many windows."""

MARGIN_SECONDS = 1.0
"""Longer than the shortest sound that the rule tells."""

ABOVE_DB = 30.0
"""So far above the loudest hop of what was captured."""

QUIETEST_DBFS = -40.0
LOUDEST_DBFS = -20.0
"""Where 30 dB above it would be louder, what was captured is turned down instead."""

ABOVE_GATE_DB = 6.0

_SYNTHESIS_RATE = 44_100
_BLOCK_SECONDS = 0.1
_LEVEL_HOP_SECONDS = 0.5
_FULL_SCALE = 0.999


class CanaryError(Exception):
    """The known sound cannot be made as it must be: the canary has failed."""


class Resampler(Protocol):
    """What brings a stream to another rate; see `StreamResampler`."""

    def push(self, block: Samples, /) -> Samples:
        """Take the samples that follow; return those that are ready."""

    def finish(self) -> Samples:
        """Return what is still in the filter."""


MakeResampler = Callable[[int, int, int], Resampler]
"""Of the rate of the source, that of the model, and the number of channels."""


Sound = NDArray[np.float32]
"""Shape (n,), at the model's rate; its root mean square is about 1."""

Start = Callable[[Callable[[], Sound]], Future[Sound]]
"""Makes a sound, which takes a moment, where nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Song:
    """Which sound is mixed in, and how long it must last for its rule to tell it."""

    label: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Mixture:
    """Captured samples with the known sound in them."""

    samples: Samples
    """float32, shape (1 or 2, n), at the model's rate."""

    start: int
    """Index of the first sample of the known sound."""


def choose_song(
    wanted: CanaryLabel | None,
    labels: Sequence[str],
    rules: Mapping[str, LabelRule],
    hop_samples: int,
    spec: ModelSpec,
) -> Song | None:
    """Choose the first sound that can be synthesised and that its rule can tell.

    Args:
        wanted: What the user wants; None: any.
        labels: Of the model.
        rules: By label.
        hop_samples: From one window to the next.
        spec: Of the model.

    Returns:
        None: there is none.
    """
    for label in LABELS:
        if label not in labels or wanted not in (None, label):
            continue
        (answer,) = examine({label: rules[label]}, hop_samples, spec)
        needed = answer.shortest_sound_seconds + MARGIN_SECONDS
        if needed <= LONGEST_SECONDS:
            return Song(label, max(SHORTEST_SECONDS, needed))
    return None


def render_song(
    song: Song,
    source_rate: int,
    model_rate: int,
    make_resampler: MakeResampler = StreamResampler,
) -> Sound:
    """Compute the sound as the source would deliver it, and resample it as its samples.

    Takes a tenth of a second and more.

    Returns:
        Shape (n,), at the model's rate; its root mean square is about 1.

    Raises:
        CanaryError: The resampler makes another number of samples of it.
    """
    synthesised = render_sound(song.label, song.seconds, _SYNTHESIS_RATE)
    delivered = _at_rate(synthesised, source_rate).astype(np.float32)[np.newaxis]
    resampler = make_resampler(source_rate, model_rate, 1)
    step = round(_BLOCK_SECONDS * source_rate)
    parts = [
        resampler.push(delivered[:, start : start + step])
        for start in range(0, delivered.shape[1], step)
    ]
    resampled: Sound = np.concatenate([*parts, resampler.finish()], axis=1)[0]
    expected = round(delivered.shape[1] * model_rate / source_rate)
    # It rounds to whole samples, once.
    if abs(resampled.size - expected) > 1:
        raise CanaryError(
            f"the resampler makes {resampled.size} samples of what should be "
            f"{expected}, from {source_rate} to {model_rate} Hz"
        )
    return resampled


def start_thread(make: Callable[[], Sound]) -> Future[Sound]:
    """Run `make` on a thread that ends with it."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="canary")
    sound = pool.submit(make)
    pool.shutdown(wait=False)
    return sound


def mix(
    song: Sound,
    captured: Samples,
    *,
    lead: int,
    tail: int,
    gate_dbfs: float,
    model_rate: int,
) -> Mixture:
    """Lay the sound over captured samples, well above them and without clipping.

    Captured samples that are fewer than needed are repeated.  In a loud place they are
    turned down: that they are captured is shown by what else becomes of them.

    Args:
        song: Shape (n,), root mean square 1.
        captured: float32, shape (1 or 2, any but 0), at the model's rate.
        lead: Samples before the sound.
        tail: Samples after it.
        gate_dbfs: The level gate of the detector, which must let it through.
        model_rate: Samples a second.
    """
    count = lead + song.size + tail
    repeats = -(-count // captured.shape[1])
    mixed = np.tile(captured, repeats)[:, :count]
    loudest = _loudest_dbfs(mixed, round(_LEVEL_HOP_SECONDS * model_rate))
    level = min(max(loudest + ABOVE_DB, QUIETEST_DBFS), LOUDEST_DBFS)
    level = max(level, gate_dbfs + ABOVE_GATE_DB)
    mixed *= np.float32(_gain(min(0.0, level - ABOVE_DB - loudest)))
    mixed[:, lead : lead + song.size] += song * np.float32(_gain(level))
    peak = float(np.abs(mixed).max())
    if peak > _FULL_SCALE:
        mixed *= np.float32(_FULL_SCALE / peak)
    return Mixture(mixed, lead)


def _at_rate(signal: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Bring a whole signal to another rate by its spectrum: no aliases, no delay."""
    if rate == _SYNTHESIS_RATE:
        return signal
    count = round(signal.size * rate / _SYNTHESIS_RATE)
    spectrum = np.zeros(count // 2 + 1, np.complex128)
    bins = np.fft.rfft(signal)[: spectrum.size]
    spectrum[: bins.size] = bins
    return np.fft.irfft(spectrum, count) * (count / signal.size)


def _loudest_dbfs(samples: Samples, hop: int) -> float:
    """Level of the loudest hop, dBFS; far down for digital silence."""
    count = max(1, samples.shape[1] // hop)
    powers = [
        float(np.mean(np.square(part))) for part in np.array_split(samples, count, 1)
    ]
    return float(10 * np.log10(max(*powers, 1e-20)))


def _gain(level_db: float) -> float:
    return float(10 ** (level_db / 20))


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
    differences = np.abs(np.array(frame.scores) - golden.scores)
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
