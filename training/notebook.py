"""Transforms, data set and loader for notebooks, by the functions of the training.

Waveforms are float32 arrays of shape (channels, n), log-mels float32 arrays of shape
(channels, n_mels, frames) in dB.  Random draws come from the numpy generator `r`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from monitor.model.frontend import LogMel
from monitor.spec import ModelSpec
from training.config import FeatureSettings, TrainingSettings
from training.data.decoded import open_store, to_channels
from training.data.manifest import Manifest
from training.losses import prepare_batch
from training.mixtures import augment
from training.mixtures.background import centred
from training.mixtures.dataset import Batch, BatchLogMel
from training.mixtures.material import Material
from training.mixtures.mixtures import FRAMES_PER_CELL
from training.recipes import training_settings

Array = NDArray[np.float32]
_SPEC = ModelSpec()


def fixed_length(
    samples: Array,
    length: int = _SPEC.window_samples,
    sample_rate: int = _SPEC.sample_rate,
    r: Generator | None = None,
) -> Array:
    """Pad or cut a waveform: (channels, n) to (channels, length).

    Args:
        samples: The waveform.
        length: Samples of the result.
        sample_rate: Hz.
        r: Draws the position, as in training; None: in the middle, over faint noise,
            as in evaluation.
    """
    if r is not None:
        return augment.place(r, samples, length, sample_rate, partial=False)[0]
    surplus = max(0, samples.shape[1] - length)
    middle = samples[:, surplus // 2 : surplus // 2 + length]
    return centred(middle, length, sample_rate)


def log_mel_of(samples: Array, spec: ModelSpec = _SPEC) -> Array:
    """Compute the log-mel spectrogram: (channels, n) to (channels, n_mels, frames)."""
    return LogMel(spec)(samples)


def time_shift(log_mel: Array, r: Generator) -> Array:
    """Roll a log-mel along its time axis by a random number of frames."""
    shifted = log_mel[None].copy()
    cells = log_mel.shape[-1] // FRAMES_PER_CELL
    augment.roll(r, shifted, np.zeros((1, 1, cells), np.float32), FRAMES_PER_CELL)
    return np.asarray(shifted[0])


def mask(
    log_mel: Array, r: Generator, settings: FeatureSettings | None = None
) -> Array:
    """Mask mel bands and frames (SpecAugment), one interval of each by default."""
    masked = log_mel[None].copy()
    augment.mask(r, masked, settings or FeatureSettings())
    return np.asarray(masked[0])


class SoundDataset(Dataset[tuple[Tensor, int]]):
    """Clips of some folds as pairs of log-mel and class index.

    An item is a float32 tensor of shape (channels, n_mels, frames), which is
    (2, 64, 344) by default, in dB, and the index of its label.  In training the clip
    lies at a random place, its level is random, and the log-mel is masked; every item
    is different in every epoch, but the same for the same seed, epoch and index.

    Args:
        manifest: Clips with folds, from `read_manifest` and `assign_folds`.
        folds: Folds to use; empty: all.
        train: Augment the clips.
        settings: Of the augmentation; None: those of the preset `article`.
        cache: Folder for decoded recordings.
    """

    def __init__(
        self,
        manifest: Manifest,
        folds: Sequence[int] = (),
        *,
        train: bool = False,
        settings: TrainingSettings | None = None,
        cache: str | Path = "decoded",
    ) -> None:
        self.settings = settings or training_settings(origin="article")
        spec = self.settings.spec
        manifest.check_folds(folds)
        manifest, store = open_store(manifest, spec.sample_rate, Path(cache))
        clips = [
            index
            for index, clip in enumerate(manifest.clips)
            if not folds or clip.fold in folds
        ]
        material = Material(manifest, store, None, None)
        self._maker = material.maker(clips, (), self.settings)
        self._log_mel = BatchLogMel(spec)
        self.labels = manifest.labels
        self.clips = self._maker.clips
        self.train = train
        self.epoch = 0
        """Set it at the begin of an epoch: augmentation depends on it."""

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label, channels = self.clips[index].label, self.settings.spec.channels
        assert label is not None
        r = np.random.default_rng([self.settings.seed, self.epoch, index])
        made = (
            self._maker.make(r, index) if self.train else self._maker.unaltered(index)
        )
        log_mel = self._log_mel(made.samples[None])  # (1, 1 or 2, 64, 344)
        if self.train:
            batch = Batch(log_mel, made.activity[None])
            log_mel = prepare_batch(r, batch, self.settings).log_mel
        tensor = torch.from_numpy(log_mel[0])
        return tensor.expand(channels, -1, -1), label


def make_loader(
    dataset: SoundDataset,
    batch_size: int = 16,
    *,
    shuffle: bool | None = None,
    generator: torch.Generator | None = None,
    workers: int = 0,
) -> DataLoader[tuple[Tensor, int]]:
    """Return a DataLoader of batches (batch, channels, n_mels, frames) and (batch,).

    Args:
        dataset: The clips.
        batch_size: Clips in a batch.
        shuffle: Draw a new order in every epoch; None: if the data set is for training.
        generator: Draws the order.
        workers: Processes that make the batches.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=dataset.train if shuffle is None else shuffle,
        generator=generator,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
    )


__all__ = [
    "SoundDataset",
    "fixed_length",
    "log_mel_of",
    "make_loader",
    "mask",
    "time_shift",
    "to_channels",
]
