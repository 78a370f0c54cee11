"""Windows of a source for a model of another sample rate than the leading one."""

from dataclasses import dataclass

import numpy as np

from monitor.audio.conditioning import StreamResampler
from monitor.audio.ring import Samples
from monitor.model.engines import Array, WindowHistory
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.spec import RESAMPLED_LATER_SAMPLES


@dataclass(frozen=True, slots=True)
class ResampledWindow:
    """A window in the samples of another model."""

    log_mel: Array
    """float32, shape (channels, n_mels, window_frames), dB."""

    first_frame: int
    """Index of its first frame, on a grid that begins anew where samples are lost."""

    start: float
    """Its first sample, as an index at the leading model's rate."""

    history: WindowHistory
    """The windows before it, since the source began or samples were lost."""


class ResampledWindows:
    """Resamples a stream, and cuts the windows of a model from it.

    They lie on a grid of `step_frames` frames, so that what the engine computed for one
    window is used for the next.  Equal for blocks of any size.  Not thread-safe.
    """

    def __init__(self, log_mel: LogMel, rate: int, step_frames: int) -> None:
        """Prepare for a stream of `rate` samples a second."""
        self._log_mel = log_mel
        self._rate = rate
        self._step = step_frames
        self.begin_at(0, 1)

    @property
    def ratio(self) -> float:
        """Samples of the stream for a sample of the model."""
        return self._rate / self._log_mel.spec.sample_rate

    def begin_at(self, start: int, channels: int) -> None:
        """Forget everything: the next sample has the index `start`."""
        spec = self._log_mel.spec
        channels = min(channels, spec.channels)
        self._start = start
        self._channels = channels
        self._resampler = StreamResampler(self._rate, spec.sample_rate, channels)
        self._frames = IncrementalLogMel(self._log_mel, channels)
        self._first_frame = 0
        self._log_mels = np.empty((channels, spec.n_mels, 0), np.float32)
        self._history = WindowHistory()

    def push(self, samples: Samples) -> None:
        """Take the samples that follow, (channels, n)."""
        if len(samples) > self._channels:
            samples = samples.mean(axis=0, keepdims=True)
        frames = self._frames.push(self._resampler.push(samples))
        self._log_mels = np.concatenate([self._log_mels, frames], axis=-1)

    def window(self, stop: int) -> ResampledWindow | None:
        """The newest window that is over before the sample `stop` of the stream.

        None: the stream began too late.  `stop` was pushed, and is not below that of
        earlier calls.
        """
        spec = self._log_mel.spec
        end = int((stop - self._start) / self.ratio) - RESAMPLED_LATER_SAMPLES
        first = (
            (end - spec.window_samples) // spec.hop_length // self._step * self._step
        )
        if first < 0:
            return None
        surplus = first - self._first_frame
        self._log_mels = self._log_mels[..., surplus:]
        self._first_frame = first
        log_mel = self._log_mels[..., : spec.window_frames]
        # A model that lacked every window would be deaf, and nobody would know.
        assert log_mel.shape[-1] == spec.window_frames, "the resampler is later"
        return ResampledWindow(
            log_mel,
            first,
            self._start + first * spec.hop_length * self.ratio,
            self._history,
        )
