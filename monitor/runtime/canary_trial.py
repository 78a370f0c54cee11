"""One trial of the canary: a known sound, mixed into captured samples, to its event.

A trial takes the model, rules and resampler in use, but a pipeline of its own.  It is
divided into steps of at most one window.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from monitor.audio.conditioning import StreamResampler
from monitor.audio.ring import Samples
from monitor.audio.sources.demo import LABELS, render_sound
from monitor.audio.timeline import Block
from monitor.audio.weighting import AWeighting
from monitor.config.audio import CanaryLabel
from monitor.config.config import Config
from monitor.detection.feasibility import examine
from monitor.detection.rules import LabelRule
from monitor.model.classifier import Classifier
from monitor.model.frontend import LogMel
from monitor.model.golden import TOLERANCES, golden_signal
from monitor.model.models import Models, as_models
from monitor.records import Event, PlacedRecord, ScoreFrame
from monitor.runtime.pipeline import Pipeline, rules_of
from monitor.runtime.scoring import Scoring
from monitor.runtime.windowing import Windower, WindowGrid

MIN_SOUND_SECONDS = 3.0
MAX_SOUND_SECONDS = 30.0
"""A rule that needs a longer sound would cost too many windows."""

MARGIN_SECONDS = 1.0
"""Added to the shortest sound that the rule detects."""

ABOVE_CAPTURED_DB = 30.0
"""Level of the sound above the loudest hop of the captured samples."""

MIN_SOUND_DBFS = -40.0
MAX_SOUND_DBFS = -20.0
"""Level bounds of the sound; louder captured samples are attenuated."""

ABOVE_GATE_DB = 6.0

TAIL_HOPS = 2
"""Hops after the sound."""

MAX_ONSET_ERROR_SECONDS = 1.0
"""Longest time between the beginnings of the sound and of its event."""

_SYNTHESIS_RATE = 44_100
_BLOCK_SECONDS = 0.1
_LEVEL_HOP_SECONDS = 0.5
_FULL_SCALE = 0.999
_GPU_TOLERANCE = 0.02
"""Tolerance of scores on a GPU, which may compute in reduced precision."""

_GOLDEN, _MIXTURE = "golden", "mixture"  # the sources of a trial's pipeline


class CanaryError(Exception):
    """A trial has failed; the message is its fault, for people."""

    def __init__(self, fault: str, score: float | None = None) -> None:
        """Fail with a sentence and the highest score of the sound, if it was scored."""
        super().__init__(fault)
        self.score = score


MakeResampler = Callable[[int, int, int], StreamResampler]
"""Takes the rate of the source, that of the model, and the number of channels."""

Sound = NDArray[np.float32]
"""Shape (n,), at the model's rate; its root mean square is about 1."""

Steps = Generator[None, None, float | None]
"""Computes at most one window per `next`; returns the score of the sound."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The analysis under test."""

    models: Models
    """Models in use."""

    rules: Mapping[str, LabelRule]
    hop_frames: int
    gate_dbfs: float

    @classmethod
    def of(cls, config: Config, models: Models | Classifier) -> "Chain":
        """Combine models with the rules of `config`."""
        detection, models = config.detection, as_models(models)
        # Settings of labels that no model scores concern no test sound.
        rules = rules_of(config, models, detection.labels)
        return cls(models, rules, detection.hop_frames, detection.level_gate_dbfs)

    @property
    def hop_samples(self) -> int:
        """Samples from one window to the next."""
        return self.hop_frames * self.models.spec.hop_length

    @property
    def lead_samples(self) -> int:
        """Samples before the known sound: a window without it, and half a hop."""
        return self.models.spec.window_samples + self.hop_samples // 2

    def mixture_samples(self, sound: Sound) -> int:
        """Length of a mixture with `sound`."""
        return self.lead_samples + sound.size + TAIL_HOPS * self.hop_samples

    def make_pipeline(self) -> Pipeline:
        """Build a pipeline like the one in use, with a state of its own."""
        return Pipeline(
            self.models,
            self.rules,
            hop_frames=self.hop_frames,
            level_gate_dbfs=self.gate_dbfs,
            level_offsets_db={_MIXTURE: 0.0},
            session="canary",
        )


@dataclass(frozen=True, slots=True)
class KnownSound:
    """A sound that can be synthesised and that the rules detect."""

    label: str
    seconds: float


def known_sounds(wanted: CanaryLabel | None, chain: Chain) -> list[KnownSound]:
    """Find the sounds that can be synthesised and that their rules can detect.

    A label that is `wanted` is the only choice.
    """
    spec = chain.models.spec
    found = []
    for label in LABELS:
        if label not in chain.models.labels or wanted not in (None, label):
            continue
        (answer,) = examine({label: chain.rules[label]}, chain.hop_samples, spec)
        needed = answer.shortest_sound_seconds + MARGIN_SECONDS
        if needed <= MAX_SOUND_SECONDS:
            found.append(KnownSound(label, max(MIN_SOUND_SECONDS, needed)))
    return found


def render(
    sound: KnownSound,
    source_rate: int,
    model_rate: int,
    make_resampler: MakeResampler = StreamResampler,
) -> Sound:
    """Synthesise the sound at the rate of the source and resample it as its samples.

    Takes a tenth of a second and more.

    Raises:
        CanaryError: The resampler makes a wrong number of samples.
    """
    synthesised = render_sound(sound.label, sound.seconds, _SYNTHESIS_RATE)
    at_source_rate = soxr.resample(synthesised, _SYNTHESIS_RATE, source_rate)
    delivered = at_source_rate.astype(np.float32)[np.newaxis]
    resampler = make_resampler(source_rate, model_rate, 1)
    step = round(_BLOCK_SECONDS * source_rate)
    parts = [
        resampler.push(delivered[:, start : start + step])
        for start in range(0, delivered.shape[1], step)
    ]
    resampled: Sound = np.concatenate([*parts, resampler.finish()], axis=1)[0]
    expected = round(delivered.shape[1] * model_rate / source_rate)
    if abs(resampled.size - expected) > 1:  # rounded to whole samples, once
        raise CanaryError(
            f"the resampler makes {resampled.size} samples instead of {expected}, from "
            f"{source_rate} to {model_rate} Hz"
        )
    return resampled


def mix(sound: Sound, captured: Samples, chain: Chain) -> Samples:
    """Add the sound to captured samples, well above their level and without clipping.

    Captured samples are repeated where there are too few, and attenuated where they are
    loud; none (0 of them) count as silence.

    Returns:
        float32, shape (1 or 2, n); the sound begins at `chain.lead_samples`.
    """
    lead, count = chain.lead_samples, chain.mixture_samples(sound)
    if not captured.size:
        captured = np.zeros((max(1, captured.shape[0]), 1), np.float32)
    repeats = -(-count // captured.shape[1])
    mixed = np.tile(captured, repeats)[:, :count]
    loudest = _loudest_dbfs(mixed, chain.models.spec.samples(_LEVEL_HOP_SECONDS))
    level = min(max(loudest + ABOVE_CAPTURED_DB, MIN_SOUND_DBFS), MAX_SOUND_DBFS)
    level = max(level, chain.gate_dbfs + ABOVE_GATE_DB)
    mixed *= _gain(min(0.0, level - ABOVE_CAPTURED_DB - loudest))
    mixed[:, lead : lead + sound.size] += sound * _gain(level)
    peak = np.abs(mixed).max()
    if peak > _FULL_SCALE:
        mixed *= np.float32(_FULL_SCALE / peak)
    return mixed


def _loudest_dbfs(samples: Samples, hop_samples: int) -> float:
    """Level of the loudest hop, dBFS; far down for digital silence."""
    count = max(1, samples.shape[1] // hop_samples)
    hops = np.array_split(samples, count, axis=1)
    loudest = max(float(np.mean(np.square(hop))) for hop in hops)
    return float(10 * np.log10(max(loudest, 1e-20)))


def _gain(level_db: float) -> np.float32:
    return np.float32(10 ** (level_db / 20))


def run_trial(chain: Chain, label: str, mixture: Samples | None) -> Steps:
    """Recompute the golden vector, then detect the known sound in the mixture.

    Without a mixture (see `mix`) the golden vector is all.

    Raises:
        CanaryError: The result is not as expected.
    """
    pipeline = chain.make_pipeline()
    yield
    for member in chain.models.members:
        signal = golden_signal(member.classifier.spec)
        yield
        _check_golden(member.classifier, signal)
        yield
    if mixture is None:
        return None
    records: list[PlacedRecord] = []
    for block in _blocks(mixture, chain):
        records += pipeline.process([(_MIXTURE, block)])
        frames = [record for record in records if isinstance(record, ScoreFrame)]
        if frames and not np.isfinite(frames[-1].scores).all():
            raise CanaryError("the network gives numbers that are not finite")
        yield
    records += pipeline.finish(_MIXTURE, "stopped")
    return _check_event(chain, label, records)


def _check_golden(classifier: Classifier, signal: Samples) -> None:
    """Compare the scores of the golden signal with those in the model file."""
    golden, models = classifier.golden, as_models(classifier)
    windower = Windower(
        LogMel(models.spec),
        AWeighting(models.spec.sample_rate),
        WindowGrid.of(models.spec, classifier.hop_frames_step),
        0.0,
    )
    windows = [(_GOLDEN, it) for it in windower.push(Block(0, signal))]
    frame = next(Scoring(models, -np.inf).frames(windows))
    differences = np.abs(np.array(frame.scores) - golden.scores)
    worst = int(differences.argmax())
    on_cpu = classifier.compute_device == "cpu"
    if not differences[worst] <= (TOLERANCES["scores"] if on_cpu else _GPU_TOLERANCE):
        raise CanaryError(
            "front end or network compute other numbers than where the model was "
            f"saved: {classifier.labels[worst]} scores {frame.scores[worst]:.3f} "
            f"instead of {golden.scores[worst]:.3f} in the golden signal"
        )


def _blocks(mixture: Samples, chain: Chain) -> Iterator[Block]:
    """The samples of the first window, then those of one hop at a time."""
    stop, total = chain.models.spec.window_samples, mixture.shape[1]
    start = 0
    while start < total:
        yield Block(start, mixture[:, start:stop])
        start, stop = stop, min(stop + chain.hop_samples, total)


def _check_event(chain: Chain, label: str, records: list[PlacedRecord]) -> float:
    """Check that the sound made an event at its time; return its highest score."""
    index = chain.models.labels.index(label)
    frames = [record for record in records if isinstance(record, ScoreFrame)]
    if not any(frame.is_computed for frame in frames):
        raise CanaryError(f"{label} lies below the level gate")
    score = max(frame.scores[index] for frame in frames)
    errors = [
        chain.models.spec.seconds(record.start - chain.lead_samples)
        for record in records
        if isinstance(record, Event) and record.label == label
    ]
    threshold = chain.rules[label].onset_threshold
    error = min(errors, key=abs, default=None)
    if error is None and score < threshold:
        raise CanaryError(
            f"{label} scored at most {score:.2f}, below its threshold of "
            f"{threshold:.2f}",
            score,
        )
    if error is None:
        raise CanaryError(
            f"{label} scored {score:.2f}, but its rule reported no event", score
        )
    if abs(error) > MAX_ONSET_ERROR_SECONDS:
        way = "late" if error > 0 else "early"
        raise CanaryError(f"{label} was detected {abs(error):.1f} s too {way}", score)
    return score
