"""The data set: turns clips into batches of log-mel, one at a time in memory."""

import contextlib
import ctypes
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import UsageError
from monitor.model.frontend import LogMel, hann_of, sharpened
from monitor.model.networks import Network
from monitor.spec import ModelSpec
from training.data.decoded import to_channels
from training.distributed import SINGLE_PROCESS, Distributed
from training.mixtures.mixtures import Mixture, MixtureMaker
from training.profile import timed

T = TypeVar("T")
R = TypeVar("R")
Array = NDArray[np.float32]
_IN_ADVANCE = 2
"""Batches that a thread makes before they are taken."""
_STATISTICS_BATCHES = 16
_FEWEST_STEPS = 8
"""Steps of an epoch, before a batch has as few windows as the smallest one."""
_SMALLEST_BATCH = 4
Key = tuple[int, int, int]
"""Epoch, position in it, and clip; -1 for a window of no class."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Training windows, before augmentation of their features."""

    log_mel: Array
    """(batch, 1 or 2, n_mels, window_frames), dB."""

    activity: Array
    """(batch, labels, cells), in [0, 1]."""

    embedding: Array | None = None
    """(batch, size), the teacher's embedding of the same windows, in its deviations."""

    teacher_logits: Array | None = None
    """(batch, classes of the teacher), in their deviations."""

    soft: Array | None = None
    """(batch, labels), scores of the linear readout of these two."""


Batches = Generator[Batch, None, None]
"""Batches in their order; to be closed where not all are taken."""


class BatchSource(Protocol):
    """Source of the batches of the training loop."""

    steps_per_epoch: int

    def batches(self, first_step: int, steps: int) -> Batches:
        """Yield the batches of the steps [first_step, steps); the same every time."""


def first_log_mels(source: BatchSource) -> Iterator[Array]:
    """Yield the log-mel of the batches of the first epoch."""
    return (batch.log_mel for batch in source.batches(0, source.steps_per_epoch))


def learn_statistics(network: Network, log_mels: Iterable[Array]) -> None:
    """Set the mean and deviation of each band from the first batches of training."""
    values = np.concatenate(
        [
            log_mel.transpose(2, 0, 1, 3).reshape(log_mel.shape[2], -1)
            for log_mel in islice(log_mels, _STATISTICS_BATCHES)
        ],
        axis=1,
    )
    mean = torch.from_numpy(values.mean(axis=1, keepdims=True))
    deviation = torch.from_numpy(values.std(axis=1, keepdims=True))
    network.normalise.mean.copy_(mean)
    network.normalise.deviation.copy_(deviation.clamp_min(1.0))


class BatchLogMel:
    """Log-mel of windows with torch, whose Fourier transform is the fastest.

    Equal to the monitor's `LogMel` to 1e-4 dB in bands less than 50 dB below the level
    of the frame.  The amplitudes of both are rounded to single precision of the whole
    frame, 144 dB below it: beside a pure tone, bands that hold next to nothing else
    differ by a decibel or two.  May be called on several threads.
    """

    def __init__(self, spec: ModelSpec) -> None:
        log_mel = LogMel(spec)
        self._spec = spec
        self._bins = slice(2 * log_mel.bins.start, 2 * log_mel.bins.stop)
        self._window = torch.from_numpy(hann_of(spec))
        # Real and imaginary parts lie side by side, and are weighted alike.
        self._bank = torch.from_numpy(log_mel.bank.repeat(2, axis=1).T.copy())

    def __call__(self, windows: Array) -> Array:
        """(batch, channels, n) to (batch, channels, n_mels, frames), dB."""
        with timed("mel front end"), torch.inference_mode():
            # One by one they fit into the cache of the processor.
            sharp = (sharpened(each, self._spec) for each in windows)
            return np.stack([self._one(torch.from_numpy(each)) for each in sharp])

    def _one(self, samples: Tensor) -> Array:
        spec = self._spec
        frames = samples.unfold(-1, spec.n_fft, spec.hop_length) * self._window
        parts = torch.view_as_real(torch.fft.rfft(frames)).flatten(-2)
        mel = parts[..., self._bins].square() @ self._bank  # (channels, frames, n_mels)
        floor = 10 ** (spec.floor_db / 10)
        mel = mel + floor if spec.adds_floor else mel.clamp_min_(floor)
        mel.log10_().mul_(10)
        mel.clamp_min_(spec.floor_db)  # to the last bit
        return np.asarray(mel.transpose(-1, -2).numpy())


def stack(samples: Sequence[Array]) -> Array:
    """Stack windows; where one has two channels, a mono one is on both."""
    channels = max(window.shape[0] for window in samples)
    return np.stack([to_channels(window, channels) for window in samples])


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_PLENTY = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep the memory that torch frees, in place of returning it.

    Every step frees its activations and allocates the same again; without this a third
    of the time goes into page faults.  Nothing happens without glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _PLENTY)
        mallopt(_TRIM_THRESHOLD, _PLENTY)
        mallopt(_TOP_PAD, 256 * 2**20)


def in_threads(
    make: Callable[[T], R], items: Iterable[T], threads: int
) -> Generator[R, None, None]:
    """Yield `make` of each item, in order; `threads` threads make the next ones.

    Close the generator to stop them.  Without threads nothing is made in advance.
    """
    if threads == 0:
        yield from map(make, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, "windows") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > _IN_ADVANCE * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class MixtureSource:
    """Batches of mixtures made on the fly, by threads of their own if there are any.

    Raises:
        UsageError: A batch cannot be shared evenly.
    """

    def __init__(
        self,
        maker: MixtureMaker,
        batch_size: int,
        seed: int,
        workers: int,
        distributed: Distributed = SINGLE_PROCESS,
    ) -> None:
        self._maker = maker
        self._log_mel = BatchLogMel(maker.spec)
        self._distributed = distributed
        self._seed = seed
        self._workers = workers
        share = maker.settings.ambience_items
        clips = len(maker.clips)
        self._ambience = round(clips * share / (1 - share)) if share < 1 else clips
        _check_share(batch_size, distributed)
        items = clips + self._ambience
        self.batch_size = batch_size_for(batch_size, items, distributed.count)
        self.steps_per_epoch = -(-items // self.batch_size)

    def keys(self, epoch: int) -> list[Key]:
        """Return the windows of an epoch, in its batches one after the other."""
        r = np.random.default_rng([self._seed, epoch])
        clips = len(self._maker.clips)
        if self._maker.settings.balance > 0:
            chosen = r.choice(clips, clips, p=self._maker.weights)
        else:
            chosen = np.arange(clips)
        items = np.concatenate([chosen, np.full(self._ambience, -1)])
        # The first ones fill the last batch: none is left out.
        count = self.steps_per_epoch * self.batch_size
        order = np.resize(r.permutation(items), count)
        return [(epoch, position, int(clip)) for position, clip in enumerate(order)]

    def _schedule(self, first_step: int, steps: int) -> Iterator[list[Key]]:
        keys: list[Key] = []
        for step in range(first_step, steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if place == 0 or not keys:
                keys = self.keys(epoch)
            begin = place * self.batch_size
            batch = keys[begin : begin + self.batch_size]
            yield list(self._distributed.shard(batch))

    def batches(self, first_step: int, steps: int) -> Batches:
        """Yield the batches of the steps [first_step, steps); the same every time."""
        return in_threads(self._make, self._schedule(first_step, steps), self._workers)

    def _make(self, keys: list[Key]) -> Batch:
        with timed("mixing and augmentation of sound"):
            mixtures = [self._mixture(*key) for key in keys]
            windows = stack([mixture.samples for mixture in mixtures])
            activity = np.stack([mixture.activity for mixture in mixtures])
        return Batch(self._log_mel(windows), activity)

    def _mixture(self, epoch: int, position: int, clip: int) -> Mixture:
        # Seeded by its place, a window does not depend on which thread makes it, nor
        # on where an interrupted run goes on.
        r = np.random.default_rng([self._seed, epoch, position])
        return self._maker.make(r, None if clip < 0 else clip)


def batch_size_for(most: int, items: int, processes: int) -> int:
    """Windows in a step: fewer where few items would make an epoch of few steps."""
    size = min(most, max(_SMALLEST_BATCH, items // _FEWEST_STEPS))
    return -(-size // processes) * processes


class ShardedSource:
    """This process's shares of batches that are whole elsewhere, as in a target cache.

    Raises:
        UsageError: A batch cannot be shared evenly.
    """

    def __init__(self, source: BatchSource, distributed: Distributed) -> None:
        self._source = source
        self._distributed = distributed
        self.steps_per_epoch = source.steps_per_epoch

    def batches(self, first_step: int, steps: int) -> Batches:
        """Yield the shares of the steps [first_step, steps)."""
        for batch in self._source.batches(first_step, steps):
            _check_share(len(batch.log_mel), self._distributed)
            yield Batch(*(self._shard(getattr(batch, f.name)) for f in fields(batch)))

    def _shard(self, values: Any) -> Any:
        return None if values is None else self._distributed.shard(values)


def _check_share(windows: int, distributed: Distributed) -> None:
    if windows % distributed.count:
        raise UsageError(
            f"optimiser.batch_size: {windows} windows cannot be shared evenly "
            f"by {distributed.count} processes"
        )
