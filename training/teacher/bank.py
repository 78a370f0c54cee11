"""A bank: mixtures that are made once, with what a teacher makes of each.

A teacher is too slow to be asked anew in every epoch.  So the mixtures that on-the-fly
training would make are stored, with its opinion on the very same sound; training maps
them into memory and varies their features only.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.mixing.dataset import Batch
from training.teacher.distill import (
    Reading,
    fit_named_reading,
    fit_reading,
    named_weights,
)

Array = NDArray[np.float32]


class Bank:
    """Windows of a bank on disk, mapped into memory."""

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / "bank.json").read_text())
        self.folder = folder
        self.clips: int = facts["clips"]
        """The first rows are the unaltered clips, in their order."""
        self.log_mel = open_array(folder, "log_mel", "r")
        self.activity = open_array(folder, "activity", "r")
        self.origin = open_array(folder, "origin", "r")
        self.embedding = self._said("embedding", facts)
        self.logits = self._said("logits", facts)

    def _said(self, name: str, facts: dict[str, Any]) -> Any:
        return open_array(self.folder, name, "r") if facts[name] else None

    def __len__(self) -> int:
        return len(self.origin)

    def rows(
        self, without_folds: Sequence[int], without_negatives: Sequence[int]
    ) -> NDArray[np.intp]:
        """Windows in which nothing is from these folds of clips or of negatives."""
        kept = ~np.isin(self.origin[:, 0], list(without_folds))
        kept &= ~np.isin(self.origin[:, 1], list(without_negatives))
        return np.flatnonzero(kept)

    def present(self, rows: NDArray[np.intp]) -> Array:
        """(rows, labels), 1 where a label sounds."""
        return np.asarray(self.activity[rows].max(axis=2) > 0, np.float32)


def open_array(folder: Path, name: str, mode: Literal["r", "r+"]) -> Any:
    """Map one array of a bank."""
    return np.load(folder / f"{name}.npy", mmap_mode=mode)


class BankSource:
    """Batches of a bank's windows.

    Args:
        bank: The windows.
        rows: Those that may be trained on.
        clean_repeats: How often an unaltered clip is met in an epoch.
        batch_size: Windows in a batch.
        seed: Of the order.
        classes: For each label the classes of the teacher that mean it; none: no class
            means any.
    """

    def __init__(
        self,
        bank: Bank,
        rows: NDArray[np.intp],
        clean_repeats: int,
        batch_size: int,
        seed: int,
        classes: Sequence[Sequence[int]] = (),
    ) -> None:
        self._bank = bank
        self._seed = seed
        clean = rows[rows < bank.clips]
        mixed = rows[rows >= bank.clips]
        self._rows = np.concatenate([np.tile(clean, clean_repeats), mixed])
        self._batch_size = min(batch_size, len(self._rows))
        self.steps_per_epoch = len(self._rows) // self._batch_size
        self.embedding_scale = _deviation(bank.embedding, rows)
        """(size,), deviation of the teacher's embedding over the windows used."""
        self.logits_scale = _deviation(bank.logits, rows)
        """(classes,), the same of its logits."""
        present = bank.present(rows)
        given = [part for part in (bank.embedding, bank.logits) if part is not None]
        everything = np.concatenate(
            [np.asarray(part, np.float32) for part in given], axis=1
        )
        if any(classes) and bank.logits is not None:
            size = everything.shape[1]
            start = named_weights(classes, size, size - bank.logits.shape[1])
            reading = fit_named_reading(everything[rows], present, start)
        else:
            reading = fit_reading(everything[rows], present)
        self._read = reading.logits(everything)
        self._soft = reading.scores(everything)
        self.head_start: Reading | None = None
        """What a head on the teacher's embedding would be."""
        if bank.embedding is not None:
            self.head_start = fit_reading(np.asarray(bank.embedding[rows]), present)

    def head_lesson(self) -> tuple[Tensor, Tensor]:
        """What a head is to learn from these windows.

        Returns:
            The teacher's embedding, (rows, size), and what the regression on all that
            the teacher gives says of it: logits, (rows, labels).
        """
        assert self._bank.embedding is not None
        embedding = np.asarray(self._bank.embedding[self._rows], np.float32)
        return torch.from_numpy(embedding), torch.from_numpy(self._read[self._rows])

    def batches(self, first_step: int, steps: int) -> Iterator[Batch]:
        """Yield the batches of the steps [first_step, steps); the same every time."""
        order: NDArray[np.intp] | None = None
        for step in range(first_step, steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if order is None or place == 0:
                r = np.random.default_rng([self._seed, 2, epoch])
                order = r.permutation(self._rows)
            begin = place * self._batch_size
            yield self._batch(np.sort(order[begin : begin + self._batch_size]))

    def _batch(self, rows: NDArray[np.intp]) -> Batch:
        bank = self._bank
        return Batch(
            bank.log_mel[rows].astype(np.float32),
            bank.activity[rows].astype(np.float32),
            _scaled(bank.embedding, rows, self.embedding_scale),
            _scaled(bank.logits, rows, self.logits_scale),
            self._soft[rows],
        )


def _deviation(values: Any, rows: NDArray[np.intp]) -> Array | None:
    if values is None:
        return None
    return np.asarray(values[rows].astype(np.float32).std(axis=0) + 1e-6, np.float32)


def _scaled(values: Any, rows: NDArray[np.intp], scale: Array | None) -> Array | None:
    if values is None or scale is None:
        return None
    return np.asarray(values[rows] / scale, np.float32)
