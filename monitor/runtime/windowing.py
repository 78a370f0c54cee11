"""Windows of one source on a fixed grid of sample indices, with their levels."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.audio.level import Level, LevelMeter
from monitor.audio.ring import Samples
from monitor.audio.third_octaves import ThirdOctaveBands
from monitor.audio.timeline import Block
from monitor.audio.weighting import AWeighting
from monitor.model.engines import WindowHistory
from monitor.model.frontend import Array, IncrementalLogMel, LogMel
from monitor.records import Gap, GapReason
from monitor.runtime.resampled import ResampledWindow, ResampledWindows
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

    def history_start(self, stop: int) -> int:
        """First sample needed to resume at `stop` as if all before it were known.

        The next window begins there or later, and the hop before it lets the level
        meter settle.
        """
        next_window = self.first_from(stop - self.window_samples + 1)
        return max(0, (next_window - 1) * self.hop_samples)

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
    """A complete window that is not classified yet."""

    start: int
    stop: int
    log_mel: Array
    """float32, shape (channels, n_mels, window_frames), dB."""

    level: Level
    """Level of the newest hop."""

    peak_level_dbfs: float
    """Level of the loudest hop."""

    history: WindowHistory
    """The windows before it, since the source began or samples were lost."""

    others: tuple[ResampledWindow | None, ...] = ()
    """About the same window for models that take others; None: too much of it was lost.
    """

    sharing: tuple[WindowHistory, ...] = ()
    """The windows before it, for each further model that takes this one."""


BRIDGED_SECONDS = 0.1
"""Longest loss in a window over which it goes on: a 40th of four seconds."""

_BRIDGED_REASONS: frozenset[GapReason] = frozenset({"overrun", "stalled", "invalid"})
"""Losses with which the source stays open."""


class Windower:
    """Cuts the blocks of one source into its windows.  Not thread-safe.

    Sources of one thread share `log_mel` and `weighting`.
    """

    def __init__(
        self,
        log_mel: LogMel,
        weighting: AWeighting,
        grid: WindowGrid,
        level_offset_db: float,
        others: Sequence[ResampledWindows] = (),
        *,
        sharing: int = 0,
        third_octaves: ThirdOctaveBands | None = None,
    ) -> None:
        """Prepare for a source.

        Args:
            log_mel: Front end.
            weighting: Of the levels.
            grid: The windows.
            level_offset_db: Added to levels in dB(A).
            others: They cut the windows of models that take others.
            sharing: Number of further models that take the same windows.
            third_octaves: Bands, if they are to be measured.
        """
        self._sharing = sharing
        self.log_mel = log_mel
        self.grid = grid
        self._others = others
        self.contiguous_start = 0
        """Index since which no sample was lost, but for losses that were bridged."""

        self.history: WindowHistory
        """What is kept of the windows since then."""

        self._most_bridged = round(BRIDGED_SECONDS * log_mel.spec.sample_rate)
        self._before_loss: Samples
        self._bridged: deque[Gap] = deque()
        hops_in_window = -(-grid.window_samples // grid.hop_samples)
        self._levels: deque[Level] = deque(maxlen=hops_in_window)
        self._meter = LevelMeter(weighting, level_offset_db, third_octaves)
        self._log_mels: Array
        self._hops: _HopLevels
        self._begin_at(0, channels=1)

    @property
    def next_stop(self) -> int:
        """Sample index at which the next window is complete."""
        return self.grid.window(self._next_window)[1]

    def restart(self, sample: int) -> None:
        """Go on at `sample`: the samples before it are lost."""
        self._begin_at(sample, self._channels)

    def resume(self, history: Block) -> None:
        """Go on after `history`, whose windows were reported before."""
        self.restart(history.start)
        if history.stop > history.start:
            self.push(history)

    def bridge(self, gap: Gap) -> list[Window] | None:
        """Go on over a short loss, with the sound before it mirrored in its place.

        Returns:
            The windows that this completes; None: it is too long, for itself or with
            the others in its window, or nothing is known before it, and the windows
            have to begin anew behind it.
        """
        count, before = gap.stop - gap.start, self._before_loss
        while self._bridged and self._bridged[0].stop <= (
            gap.stop - self.grid.window_samples
        ):
            left = self._bridged.popleft()
            self._bridged_samples -= left.stop - left.start
        if (
            gap.reason not in _BRIDGED_REASONS
            or gap.start != self._stop
            or count > before.shape[1]
            or count + self._bridged_samples > self._most_bridged
        ):
            return None
        self._bridged.append(gap)
        self._bridged_samples += count
        return self.push(Block(gap.start, before[:, : -count - 1 : -1]))

    def push(self, block: Block) -> list[Window]:
        """Take the next block; return the windows that it completes, in order."""
        samples = block.samples
        if samples.shape[0] > self.log_mel.spec.channels:
            samples = samples.mean(axis=0, keepdims=True)
        channels, count = samples.shape
        if channels != self._channels or block.start != self._stop:
            self._begin_at(block.start, channels)
        self._stop += count
        newest = np.concatenate([self._before_loss, samples], axis=1)
        self._before_loss = newest[:, -self._most_bridged :].copy()
        for other in self._others:
            other.push(samples)
        new_frames = self._frames.push(samples)
        self._log_mels = np.concatenate([self._log_mels, new_frames], axis=-1)
        windows = []
        for end, level in self._hops.push(samples):
            self._levels.append(level)
            if end == self.next_stop:
                windows.append(self._take_window(end))
        self._forget_old_frames()
        return windows

    def completion(self) -> Block | None:
        """Return silence that completes the first window, if none was complete yet.

        None too where samples were lost, or none came.
        """
        if not 0 < self._stop < self.next_stop == self.grid.window_samples:
            return None
        shape = (self._channels, self.next_stop - self._stop)
        return Block(self._stop, np.zeros(shape, np.float32))

    def _begin_at(self, start: int, channels: int) -> None:
        spec = self.log_mel.spec
        self._channels = channels
        self._before_loss = np.empty((channels, 0), np.float32)
        self._bridged.clear()
        self._bridged_samples = 0
        self.contiguous_start = self._stop = start
        self.history = WindowHistory()
        self._next_window = self.grid.first_from(start)
        self._frames = IncrementalLogMel(self.log_mel, channels, start)
        self._first_frame = self._frames.next_frame
        self._log_mels = np.empty((channels, spec.n_mels, 0), np.float32)
        self._meter.restart()
        self._hops = _HopLevels(self._meter, self.grid, start, channels)
        self._levels.clear()
        for other in self._others:
            other.begin_at(start, channels)
        self._shared = tuple(WindowHistory() for _ in range(self._sharing))

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
            self.history,
            tuple(other.window(stop) for other in self._others),
            self._shared,
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
        self._pending: Samples = np.empty((channels, 0), np.float32)

    def push(self, samples: Samples) -> Iterator[tuple[int, Level]]:
        """Yield the end of each completed hop with the hop's level."""
        pending = np.concatenate([self._pending, samples], axis=1)
        used = 0
        while True:
            end = self._grid.hop_end_after(self._measured)
            count = end - self._measured
            if used + count > pending.shape[1]:
                break
            yield end, self._meter.measure(pending[:, used : used + count])
            used += count
            self._measured = end
        self._pending = pending[:, used:].copy()
