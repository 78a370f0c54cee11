"""The signal of a whole recording, for a picture: its log-mel and its levels."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.audio.conditioning import StreamResampler
from monitor.audio.level import FLOOR_DB
from monitor.audio.ring import Samples
from monitor.audio.sources.recording import Recording
from monitor.audio.weighting import AWeighting
from monitor.errors import AudioFileError
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.spec import ModelSpec

_READ_SAMPLES = 1 << 20
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RecordingSignal:
    """What a picture shows of the signal of a recording."""

    samples: int
    """Length at the rate of the model."""

    log_mel: Array
    """float32, shape (n_mels, frames), dB, of the mean of the channels."""

    levels: Array
    """float32, shape (2, steps), of consecutive steps: dBFS, and A-weighted.

    The last step ends with the recording, and may be shorter.  Its level is that of the
    last `level_step` samples.
    """

    level_step: int
    """Samples of a step, about a tenth of a second."""


def read_signal(path: Path, spec: ModelSpec) -> RecordingSignal:
    """Read a recording to its end, or as far as it can be read.

    Raises:
        UsageError: There is no such file.
        AudioFileError: The file is not a recording.
    """
    frames, levels = IncrementalLogMel(LogMel(spec), channels=1), _Levels(spec)
    parts: list[Array] = []
    with Recording(path) as recording:
        channels = recording.channels if recording.channels <= spec.channels else 1
        resampler = StreamResampler(recording.sample_rate, spec.sample_rate, channels)

        def add(samples: Samples) -> None:
            levels.push(samples)
            parts.append(frames.push(samples.mean(axis=0, keepdims=True))[0])

        # What is wrong at its end has been said where it was analysed.
        with contextlib.suppress(AudioFileError):
            for block in recording.blocks(_READ_SAMPLES):
                valid = np.nan_to_num(block, nan=0, posinf=0, neginf=0)
                if len(valid) != channels:
                    valid = valid.mean(axis=0, keepdims=True)
                add(resampler.push(valid))
        add(resampler.finish())
    log_mel = np.concatenate(parts, axis=1)
    return RecordingSignal(levels.samples, log_mel, levels.finish(), levels.step)


class _Levels:
    """Levels of consecutive steps, each measured around its own samples."""

    def __init__(self, spec: ModelSpec) -> None:
        self._weighting = AWeighting(spec.sample_rate)
        self.step = self._weighting.step
        self.samples = 0
        """Samples so far."""

        self._edge = self._weighting.flank // 2
        """Samples of a frame before its step, and after it."""

        self._rest: Samples | None = None
        """Samples from `_edge` before the next step on; before the first: zeros."""

        self._before: Samples
        """As many samples before these as a frame has."""

        self._powers: list[tuple[float, float]] = []

    def push(self, samples: Samples) -> None:
        """Take the samples that follow, shape (channels, n)."""
        if self._rest is None:
            self._rest = np.zeros((len(samples), self._edge), np.float32)
            self._before = np.zeros((len(samples), 0), np.float32)
        self.samples += samples.shape[1]
        self._take(samples)

    def _take(self, samples: Samples) -> None:
        assert self._rest is not None
        rest, frame = np.concatenate([self._rest, samples], axis=1), self._frame
        steps = max(0, (rest.shape[1] - frame) // self.step + 1)
        for begin in range(0, steps * self.step, self.step):
            self._measure(rest[:, begin : begin + frame], self.step)
        taken = steps * self.step
        known = np.concatenate([self._before, rest[:, :taken]], axis=1)
        self._before, self._rest = known[:, -frame:], rest[:, taken:].copy()

    def finish(self) -> Array:
        """Return the levels, shape (2, steps)."""
        if self._rest is not None:
            self._take(np.zeros((len(self._rest), self._edge), np.float32))
            if self.samples > len(self._powers) * self.step:
                count = min(self.step, self.samples)
                known = np.concatenate([self._before, self._rest], axis=1)
                self._measure(known[:, -(count + 2 * self._edge) :], count)
        powers = np.array(self._powers).reshape(-1, 2).T
        floor = 10 ** (FLOOR_DB / 10)
        levels: Array = 10 * np.log10(np.maximum(powers, floor)).astype(np.float32)
        return levels

    @property
    def _frame(self) -> int:
        return self.step + 2 * self._edge

    def _measure(self, samples: Samples, count: int) -> None:
        """Measure `count` samples, which have `_edge` others on both sides."""
        channels, length = samples.shape
        own = samples[:, self._edge : self._edge + count].astype(np.float64)
        # A recording shorter than a step is silent around it.
        before = (self._frame - length) // 2
        around = ((0, 0), (before, self._frame - length - before))
        frame = np.ascontiguousarray(np.pad(samples, around))
        energy = sum(self._weighting.energies(channel).sum() for channel in frame)
        self._powers.append(
            (float(np.square(own).mean()), float(energy) / (channels * count))
        )
