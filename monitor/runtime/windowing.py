"""One source's way from blocks to windows: frames, hop levels, due windows.

The grid of windows and hops, on the absolute sample index.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from monitor.audio.level import Level, LevelMeter
from monitor.audio.ring import Samples
from monitor.audio.timeline import Block
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """Window `i` covers `window_samples` samples from `i * hop_samples`.

    The grid is fixed to the opening of the source: a gap drops the windows that it
    touches and moves none.
    """

    window_samples: int
    hop_samples: int

    @classmethod
    def of(cls, spec: ModelSpec, hop_frames: int) -> "WindowGrid":
        """Grid of a model's windows, `hop_frames` frames apart."""
        return cls(spec.window_samples, hop_frames * spec.hop_length)

    def window(self, index: int) -> tuple[int, int]:
        """Samples [start, stop) of window `index`."""
        start = index * self.hop_samples
        return start, start + self.window_samples

    def first_from(self, sample: int) -> int:
        """Index of the first window that begins at or after `sample`."""
        return -(-sample // self.hop_samples)

    def hop_end_after(self, sample: int) -> int:
        """First end of a window, of any index, that lies after `sample`.

        Levels are measured between such ends, so that the newest hop of a window is
        one measurement.
        """
        phase = self.window_samples % self.hop_samples
        return (sample - phase) // self.hop_samples * self.hop_samples + (
            phase + self.hop_samples
        )


@dataclass(frozen=True, slots=True)
class Window:
    """A window that is complete, and not yet classified."""

    start: int
    stop: int
    log_mel: Tensor
    """float32, shape (channels, n_mels, window_frames), dB."""

    level: Level
    """Of the newest hop."""

    peak_level_dbfs: float
    """Of the loudest hop."""


class Track:
    """Turns the blocks of one source into its due windows.  Not thread-safe."""

    def __init__(
        self, log_mel: LogMel, grid: WindowGrid, level_offset_db: float
    ) -> None:
        self.log_mel = log_mel
        self.grid = grid
        self.level_offset_db = level_offset_db
        self._told_until = 0  # no window that stops by then is told
        hops_in_window = -(-grid.window_samples // grid.hop_samples)
        self._levels: deque[Level] = deque(maxlen=hops_in_window)
        self._log_mels: Tensor
        self._hops: _HopLevels
        self._begin_stretch(0, channels=1)

    @property
    def next_stop(self) -> int:
        """Sample index at which the next window is complete."""
        return self.grid.window(self._next_window)[1]

    @property
    def stop(self) -> int:
        """Absolute index after the newest sample."""
        return self._stop

    def is_like(self, other: "Track") -> bool:
        """Whether the other would make the same windows of the same samples."""
        return (self.log_mel.spec, self.grid, self.level_offset_db) == (
            other.log_mel.spec,
            other.grid,
            other.level_offset_db,
        )

    def go_on_from(self, before: "Track") -> int:
        """Go on where another one was, which stays as it is.

        Returns:
            The first sample to be heard again: it is in the window that comes next, or
            in the hop before, which the meter of levels needs to settle.
        """
        self._told_until = before._told_until
        grid = self.grid
        last = (before._told_until - grid.window_samples) // grid.hop_samples
        return max(before._began, last * grid.hop_samples)

    def restart(self, sample: int) -> None:
        """Go on at `sample`: what lies before it was lost."""
        self._begin_stretch(sample, self._channels)

    def push(self, block: Block) -> list[Window]:
        """Take the next block; return the windows that it completes, in order."""
        samples = block.samples
        if samples.shape[0] > self.log_mel.spec.channels:
            samples = samples.mean(axis=0, keepdims=True)
        channels, count = samples.shape
        if channels != self._channels or block.start != self._stop:
            self._begin_stretch(block.start, channels)
        self._stop += count
        new_frames = self._frames.push(torch.from_numpy(samples))
        self._log_mels = torch.cat([self._log_mels, new_frames], dim=-1)
        windows = []
        for end, level in self._hops.push(samples):
            self._levels.append(level)
            if end == self.next_stop:
                window = self._take_window(end)
                if end > self._told_until:
                    self._told_until = end
                    windows.append(window)
        self._forget_old_frames()
        return windows

    def _begin_stretch(self, start: int, channels: int) -> None:
        spec = self.log_mel.spec
        self._channels = channels
        self._began = self._stop = start
        self._next_window = self.grid.first_from(start)
        self._frames = IncrementalLogMel(self.log_mel, channels, start)
        self._first_frame = self._frames.next_frame
        self._log_mels = torch.empty(channels, spec.n_mels, 0)
        meter = LevelMeter(spec.sample_rate, self.level_offset_db)
        self._hops = _HopLevels(meter, self.grid, start, channels)
        self._levels.clear()

    def _take_window(self, stop: int) -> Window:
        start = stop - self.grid.window_samples
        first = self._frame_at(start) - self._first_frame
        frames = self.log_mel.spec.window_frames
        self._next_window += 1
        return Window(
            start,
            stop,
            self._log_mels[..., first : first + frames],
            self._levels[-1],
            max(level.level_dbfs for level in self._levels),
        )

    def _forget_old_frames(self) -> None:
        keep_from = self._frame_at(self.grid.window(self._next_window)[0])
        # After a gap the next window may begin with a frame that is still to come.
        computed = self._log_mels.shape[-1]
        surplus = min(keep_from - self._first_frame, computed)
        if surplus > 0:
            self._log_mels = self._log_mels[..., surplus:]
            self._first_frame += surplus

    def _frame_at(self, sample: int) -> int:
        return sample // self.log_mel.spec.hop_length


class _HopLevels:
    """Levels between the ends of hops, whatever the sizes of the blocks."""

    def __init__(
        self, meter: LevelMeter, grid: WindowGrid, start: int, channels: int
    ) -> None:
        self._meter = meter
        self._grid = grid
        self._measured = start
        self._waiting: Samples = np.empty((channels, 0), np.float32)

    def push(self, samples: Samples) -> Iterator[tuple[int, Level]]:
        """Yield the end of each completed hop with the hop's level."""
        waiting = np.concatenate([self._waiting, samples], axis=1)
        used = 0
        while True:
            end = self._grid.hop_end_after(self._measured)
            count = end - self._measured
            if used + count > waiting.shape[1]:
                break
            yield end, self._meter.measure(waiting[:, used : used + count])
            used += count
            self._measured = end
        self._waiting = waiting[:, used:].copy()
