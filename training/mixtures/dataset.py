"""The data set: turns clips into batches of log-mel, one at a time in memory."""

import contextlib
import ctypes
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from monitor.errors import UsageError
from monitor.model.frontend import LogMel
from monitor.model.networks import Network
from monitor.spec import ModelSpec
from training.data.decoded import to_channels
from training.distributed import SINGLE_PROCESS, Distributed
from training.mixtures.mixtures import Mixture, MixtureMaker
from training.profile import begin_in_worker, is_profiling, seconds_of_worker, timed

Array = NDArray[np.float32]
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

    seconds: Mapping[str, float] | None = None
    """Seconds by part of the worker process that made it, for a profile."""


class BatchSource(Protocol):
    """Source of the batches of the training loop."""

    steps_per_epoch: int

    def batches(self, first_step: int, steps: int) -> Iterator[Batch]:
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


def to_log_mel(log_mel: LogMel, windows: Array) -> Array:
    """Compute the log-mel of windows (batch, channels, samples)."""
    with timed("mel front end"):
        # One by one they fit into the cache of the processor.
        return np.stack([log_mel(window) for window in windows])


def stack(samples: Sequence[Array]) -> Array:
    """Stack windows; where one has two channels, a mono one is on both."""
    channels = max(window.shape[0] for window in samples)
    return np.stack([to_channels(window, channels) for window in samples])


class _MixtureSet(Dataset[Mixture]):
    def __init__(self, maker: MixtureMaker, seed: int) -> None:
        self._maker = maker
        self._seed = seed

    def __getitem__(self, key: Key) -> Mixture:
        epoch, position, clip = key
        # Seeded by its place, a window does not depend on which worker makes it, nor
        # on where an interrupted run goes on.
        r = np.random.default_rng([self._seed, epoch, position])
        with timed("mixing and augmentation of sound"):
            return self._maker.make(r, None if clip < 0 else clip)


class _Collate:
    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._log_mel: LogMel | None = None

    def __call__(self, mixtures: list[Mixture]) -> Batch:
        if self._log_mel is None:
            self._log_mel = LogMel(self._spec)
        windows = stack([mixture.samples for mixture in mixtures])
        activity = np.stack([mixture.activity for mixture in mixtures])
        log_mel = to_log_mel(self._log_mel, windows)
        return Batch(log_mel, activity, seconds=seconds_of_worker())


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


def start_worker(_: int) -> None:
    """Prepare a worker process."""
    keep_freed_memory()
    # Ctrl-C reaches the whole process group; only the main process answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _start_counting_worker(number: int) -> None:
    start_worker(number)
    begin_in_worker()


class MixtureSource:
    """Batches of mixtures made on the fly, in worker processes if there are any.

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

    def batches(self, first_step: int, steps: int) -> Iterator[Batch]:
        """Yield the batches of the steps [first_step, steps); the same every time."""
        start = _start_counting_worker if is_profiling() else start_worker
        loader: DataLoader[Mixture] = DataLoader(
            _MixtureSet(self._maker, self._seed),
            batch_sampler=self._schedule(first_step, steps),
            num_workers=self._workers,
            collate_fn=_Collate(self._maker.spec),
            worker_init_fn=start if self._workers else None,
            # A forked child of a process with threads may hang.
            multiprocessing_context="forkserver" if self._workers else None,
        )
        yield from loader


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

    def batches(self, first_step: int, steps: int) -> Iterator[Batch]:
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
