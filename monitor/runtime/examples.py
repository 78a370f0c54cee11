"""Examples of a label to be taught: recordings, cut into windows and embedded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.audio.conditioning import StreamResampler
from monitor.audio.sources.recording import Recording
from monitor.errors import AudioFileError, SoundMonitorError, UsageError
from monitor.model.classifier import Classifier
from monitor.model.frontend import Array, LogMel
from monitor.spec import ModelSpec
from monitor.text import path_text, printable

SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 60.0
MOST_WINDOWS = 6
"""Of one example: those that are left say little new."""

MOST_AMPLITUDE = 100.0
"""As for a live source: more is no sound."""

_READ_SAMPLES = 1 << 16
_LEVEL_SECONDS = 0.1
_LOUD_DB = 6.0
"""A window counts if its loudest tenth of a second is within this of the clip's."""

_ACTIVE_DB = 20.0
_LEAST_NOISE_DBFS = -75.0
"""Level of the noise around a clip that is shorter than a window, at least: a room is
never digitally silent."""

_BELOW_SOUND_DB = 40.0
"""Level of that noise below the loudest tenth of a second, at least."""

_WINDOW_SHIFTS = 4
"""Windows of a clip begin a quarter of a window apart."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording of one example, and the part of it that counts."""

    path: Path
    start_seconds: float = 0.0
    stop_seconds: float | None = None
    """End of the part; None: that of the recording."""

    @property
    def name(self) -> str:
        """The path, for messages."""
        return printable(path_text(self.path))


@dataclass(frozen=True, slots=True)
class Sound:
    """The samples of an example."""

    name: str
    samples: Array
    """float32, (n,), at the rate of the model."""

    digest: str
    """SHA-256 of the samples: equal ones are one example."""

    active_seconds: float
    """Time within 20 dB of its loudest tenth of a second."""

    levels_dbfs: NDArray[np.float64]
    """Level of each tenth of a second."""


@dataclass(frozen=True, slots=True)
class Example:
    """What the model says of an example."""

    name: str
    embeddings: NDArray[np.float64]
    """(windows, features)."""

    scores: NDArray[np.float32]
    """(labels,), the highest of its windows."""

    active_seconds: float


class Embedder:
    """Embeds windows of samples, with front end and engine of the monitor.

    Args:
        classifier: The model.

    Raises:
        UsageError: Its graph gives no columns, which labels are taught on.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.spec: ModelSpec = classifier.spec
        self.labels: Sequence[str] = classifier.labels
        self.name: str = classifier.name
        self._classifier = classifier
        self._log_mel = LogMel(self.spec)
        silence = np.zeros(self.spec.window_samples, np.float32)
        self.features: int = self.embed(silence)[0].size
        """Features of an embedding."""

    def embed(self, window: Array) -> tuple[Array, Array]:
        """Embed one window.

        Args:
            window: float32, (window_samples,).

        Returns:
            Embedding (features,) and scores (labels,), float32.
        """
        log_mel = self._log_mel(window[None])  # (1, n_mels, frames)
        found = self._classifier.classify(log_mel[None])
        if found.columns is None:
            raise UsageError(
                f"--model: the graph of the model {self.name!r} gives no embedding, so "
                "no label can be taught on it; take the included model, or train anew"
            )
        return found.columns[0].mean(axis=-1), found.scores[0]

    def example(self, sound: Sound) -> Example:
        """Embed the windows of an example that hold its sound."""
        parts = [self.embed(window) for window in windows_of(sound, self.spec)]
        embeddings, scores = zip(*parts, strict=True)
        highest: NDArray[np.float32] = np.max(scores, axis=0)
        whole = np.array(embeddings, np.float64)
        return Example(sound.name, whole, highest, sound.active_seconds)


def read_sound(clip: Clip, spec: ModelSpec, level_gate_dbfs: float) -> Sound:
    """Read an example: the mean of its channels, at the rate of the model.

    Raises:
        UsageError: It is missing, too short, too long or silent.
        AudioFileError: It is not a recording, or is damaged.
    """
    most = LONGEST_SECONDS + (clip.stop_seconds or 0.1)
    samples = _cut(clip, read_samples(clip.path, spec, most), spec)
    seconds = len(samples) / spec.sample_rate
    if seconds > LONGEST_SECONDS:
        raise UsageError(
            f"{clip.name}: is longer than {LONGEST_SECONDS:g} s: cut it to the sound"
        )
    if seconds < SHORTEST_SECONDS:
        raise UsageError(
            f"{clip.name}: lasts {seconds:.2f} s; an example has at least "
            f"{SHORTEST_SECONDS:g} s: leave some of the room around the sound"
        )
    if float(np.abs(samples).max()) > MOST_AMPLITUDE:
        raise UsageError(
            f"{clip.name}: holds numbers far above full scale, which is 1: it is not "
            "the sound of a microphone"
        )
    levels = _levels(samples, spec)
    if levels.max() < level_gate_dbfs:
        raise UsageError(
            f"{clip.name}: is silent: its loudest moment has {levels.max():.0f} dBFS, "
            f"and the monitor detects nothing below {level_gate_dbfs:g} "
            "(detection.level_gate_dbfs)"
        )
    active = _LEVEL_SECONDS * int((levels >= levels.max() - _ACTIVE_DB).sum())
    digest = hashlib.sha256(samples.tobytes()).hexdigest()
    return Sound(clip.name, samples, digest, active, levels)


def read_sounds(
    clips: Sequence[Clip], spec: ModelSpec, level_gate_dbfs: float
) -> list[Sound]:
    """Read all examples, in an order that does not depend on that of `clips`.

    Equal ones are read once.

    Raises:
        UsageError: Some of them cannot be used; a sentence for each.
    """
    sounds: dict[str, Sound] = {}
    faults = []
    for clip in clips:
        try:
            sound = read_sound(clip, spec, level_gate_dbfs)
        except SoundMonitorError as error:
            faults.append(str(error))
        else:
            sounds.setdefault(sound.digest, sound)
    if faults:
        raise UsageError("\n".join(faults))
    return [sounds[digest] for digest in sorted(sounds)]


def windows_of(sound: Sound, spec: ModelSpec) -> list[Array]:
    """Cut the windows that hold the sound of an example, each (window_samples,).

    A sound that is shorter than a window is placed at the start, in the middle and at
    the end of one, in faint noise.
    """
    samples, length = sound.samples, spec.window_samples
    if len(samples) < length:
        room = length - len(samples)
        noise = _background_noise(sound, length)
        return [_placed(samples, noise, start) for start in (0, room // 2, room)]
    last = len(samples) - length
    shift = length // _WINDOW_SHIFTS
    starts = sorted({*range(0, last + 1, shift), last})
    step = _LEVEL_SECONDS * spec.sample_rate
    levels = sound.levels_dbfs
    loudest = [
        levels[int(start / step) : int((start + length) / step) + 1].max()
        for start in starts
    ]
    loud = [
        start
        for start, level in zip(starts, loudest, strict=True)
        if level >= max(loudest) - _LOUD_DB
    ]
    chosen = np.linspace(0, len(loud) - 1, min(len(loud), MOST_WINDOWS))
    return [
        samples[start : start + length]
        for start in (loud[index] for index in chosen.round().astype(int).tolist())
    ]


def read_samples(path: Path, spec: ModelSpec, most_seconds: float) -> Array:
    """Read the mean of the channels of a recording, at the rate of a model.

    Args:
        path: The recording.
        spec: Input format of the model.
        most_seconds: What follows is not read.

    Returns:
        float32, (n,).

    Raises:
        UsageError: There is no such file.
        AudioFileError: It is not a recording, or is damaged.
    """
    parts: list[Array] = []
    with Recording(path) as recording:
        left = round(most_seconds * recording.sample_rate)
        resampler = StreamResampler(recording.sample_rate, spec.sample_rate, 1)
        for block in recording.blocks(_READ_SAMPLES):
            parts.append(resampler.push(block[:, :left].mean(axis=0, keepdims=True)))
            left -= block.shape[1]
            if left <= 0:
                break
        parts.append(resampler.finish())
    samples: Array = np.concatenate(parts, axis=1)[0]
    if not np.isfinite(samples).all():
        raise AudioFileError(
            f"{printable(path_text(path))}: holds numbers that are not finite"
        )
    return samples


def _cut(clip: Clip, samples: Array, spec: ModelSpec) -> Array:
    """Cut the part of a clip, with what is around it up to a whole window."""
    if clip.stop_seconds is None:
        return samples
    start = max(0, round(clip.start_seconds * spec.sample_rate))
    stop = min(len(samples), round(clip.stop_seconds * spec.sample_rate))
    stop = min(stop, start + round(LONGEST_SECONDS * spec.sample_rate))
    lacking = max(0, spec.window_samples - (stop - start))
    start = max(0, start - lacking // 2)
    return samples[start : max(stop, start + spec.window_samples)]


def _levels(samples: Array, spec: ModelSpec) -> NDArray[np.float64]:
    """Level of each tenth of a second, dBFS re a full-scale sine."""
    step = round(_LEVEL_SECONDS * spec.sample_rate)
    starts = np.arange(0, len(samples), step)
    sums = np.add.reduceat(np.square(samples, dtype=np.float64), starts)
    counts = np.diff(np.append(starts, len(samples)))
    levels: NDArray[np.float64] = 10 * np.log10(2 * sums / counts + 1e-20)
    return levels


def _background_noise(sound: Sound, length: int) -> Array:
    """Faint pink noise, at the level of the quiet tenths of the example."""
    levels = sound.levels_dbfs
    loudest = float(levels.max()) - _BELOW_SOUND_DB
    level = min(max(float(np.quantile(levels, 0.1)), _LEAST_NOISE_DBFS), loudest)
    noise = np.random.default_rng(0).standard_normal(length)
    spectrum = np.fft.rfft(noise) / np.sqrt(np.arange(length // 2 + 1) + 1)
    pink = np.fft.irfft(spectrum, length)
    amplitude = 10 ** (level / 20) / np.sqrt(2)
    return np.asarray(pink * amplitude / pink.std(), np.float32)


def _placed(samples: Array, noise: Array, start: int) -> Array:
    window = noise.copy()
    window[start : start + len(samples)] = samples
    return window
