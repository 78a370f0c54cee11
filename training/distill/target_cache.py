"""A bank: mixtures that are made once, with what a teacher makes of each.

A teacher is too slow to be asked anew in every epoch.  So the mixtures that on-the-fly
training would make are stored, with its opinion on the very same sound; training maps
them into memory and varies their features only.

Making a bank: every window from a seed of its own, by worker processes.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from monitor.errors import UsageError
from monitor.model.frontend import LogMel
from training.checkpoint import InterruptedTrainingError
from training.distill.teacher import (
    Opinion,
    Reading,
    Teacher,
    fit_named_reading,
    fit_reading,
    named_weights,
)
from training.files import alone_in, replace_text
from training.mixtures.dataset import Batch, start_worker, to_log_mel
from training.mixtures.mixtures import Mixture, MixtureMaker, cells_of

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


_FORMAT = 1
_BATCH = 16
_DONE_EVERY = 512


@dataclass(frozen=True, slots=True)
class _Row:
    """One window of the bank."""

    number: int
    log_mel: NDArray[np.float16]
    activity: NDArray[np.float16]
    origin: tuple[int, int]
    opinion: Opinion


class _RowSet(Dataset[_Row]):
    """Makes the rows of a bank, each from a seed of its own."""

    def __init__(self, maker: MixtureMaker, teacher: Teacher, seed: int) -> None:
        self._maker = maker
        self._teacher = teacher
        self._seed = seed
        self._log_mel: LogMel | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_log_mel": None}

    def __getitem__(self, number: int) -> _Row:
        spec = self._maker.spec
        if self._log_mel is None:
            self._log_mel = LogMel(spec)
        mixture = self._mixture(number)
        features = to_log_mel(self._log_mel, mixture.samples[None])[0]
        heard = self._teacher.waveform(mixture.full_scale, spec.sample_rate)
        return _Row(
            number,
            features.astype(np.float16),
            mixture.activity.astype(np.float16),
            (mixture.fold, mixture.negatives_fold),
            self._teacher.hear(heard),
        )

    def _mixture(self, number: int) -> Mixture:
        clips = len(self._maker.clips)
        if number < clips:
            return self._maker.unaltered(number)
        r = np.random.default_rng([self._seed, 3, number])
        ambience = r.random() < self._maker.settings.ambience_items
        index = None if ambience else int(r.choice(clips, p=self._maker.weights))
        return self._maker.make(r, index)


def build_bank(
    folder: Path,
    maker: MixtureMaker,
    teacher: Teacher,
    mixtures: int,
    seed: int,
    workers: int,
    stop: threading.Event,
    advance: Callable[[int, int], None],
) -> Bank:
    """Make a bank, or go on making it, or find it made.

    Args:
        folder: Of the bank.
        maker: Of its mixtures; unaltered clips come on top.
        teacher: Hears every window, at full scale, before it gets its level.
        mixtures: How many.
        seed: Of the run.
        workers: Processes that make windows.
        stop: Ends the work; what is made stays.
        advance: Told how much of how much is done.

    Raises:
        UsageError: The folder holds a bank of other material or settings.
        InterruptedTrainingError: `stop` was set.
    """
    total = len(maker.clips) + mixtures
    with alone_in(folder, lambda: _go_on(stop)):
        _begin(folder, _facts(maker, teacher, total, seed), maker, teacher, total)
        _fill(folder, _RowSet(maker, teacher, seed), workers, stop, advance)
    return Bank(folder)


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise InterruptedTrainingError("stopped while another process made the bank")


def _fill(
    folder: Path,
    rows: _RowSet,
    workers: int,
    stop: threading.Event,
    advance: Callable[[int, int], None],
) -> None:
    """Make the rows that are missing."""
    done = np.asarray(open_array(folder, "done", "r+"))
    total = len(done)
    missing = np.flatnonzero(done == 0)
    if len(missing) == 0:
        return
    arrays = {
        path.stem: open_array(folder, path.stem, "r+") for path in folder.glob("*.npy")
    }
    loader: DataLoader[_Row] = DataLoader(
        rows,
        batch_size=_BATCH,
        sampler=missing.tolist(),
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=start_worker if workers else None,
        multiprocessing_context="forkserver" if workers else None,
    )
    made = total - len(missing)
    fresh: list[int] = []
    for batch in loader:
        for row in batch:
            _store(arrays, row)
            fresh.append(row.number)
        made += len(batch)
        advance(made, total)
        if stop.is_set() or len(fresh) >= _DONE_EVERY or made == total:
            _mark_done(arrays, fresh)
        if stop.is_set():
            raise InterruptedTrainingError(
                f"stopped with {made} of {total} windows of the bank made; --resume "
                "goes on"
            )


def _mark_done(arrays: dict[str, Any], fresh: list[int]) -> None:
    """Note which rows are there, after they are on disk: power may fail between."""
    for array in arrays.values():
        array.flush()
    arrays["done"][fresh] = 1
    arrays["done"].flush()
    fresh.clear()


def _facts(
    maker: MixtureMaker, teacher: Teacher, total: int, seed: int
) -> dict[str, Any]:
    digest = hashlib.blake2b(teacher.path.read_bytes(), digest_size=12).hexdigest()
    clips = "\n".join(f"{clip.path} {clip.label} {clip.fold}" for clip in maker.clips)
    return {
        "format": _FORMAT,
        "rows": total,
        "clips": len(maker.clips),
        "clips_digest": hashlib.blake2b(clips.encode(), digest_size=12).hexdigest(),
        "teacher": digest,
        "seed": seed,
        "mixtures": maker.settings.model_dump(mode="json"),
        "spec": maker.spec.model_dump(mode="json"),
    }


def _begin(
    folder: Path,
    facts: dict[str, Any],
    maker: MixtureMaker,
    teacher: Teacher,
    total: int,
) -> None:
    """Lay out empty files, unless they are there for the same bank."""
    index = folder / "bank.json"
    if index.is_file():
        before = json.loads(index.read_text())
        for key, value in facts.items():
            if before.get(key) != value:
                raise UsageError(
                    f"{folder} holds a bank with another {key}; take another run folder"
                )
        return
    first = _RowSet(maker, teacher, 0)[0]
    shapes: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "log_mel": (np.float16, (maker.channels, *first.log_mel.shape[1:])),
        "activity": (np.float16, (maker.labels, cells_of(maker.spec))),
        "origin": (np.int16, (2,)),
        "done": (np.uint8, ()),
    }
    opinion = first.opinion
    if opinion.embedding is not None:
        shapes["embedding"] = (np.float32, opinion.embedding.shape[1:])
    if opinion.logits is not None:
        shapes["logits"] = (np.float16, opinion.logits.shape[1:])
    for name, (kind, shape) in shapes.items():
        np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", kind, (total, *shape)
        ).flush()
    has = {name: name in shapes for name in ("embedding", "logits")}
    replace_text(index, json.dumps(facts | has, indent=2))


def _store(arrays: dict[str, Any], row: _Row) -> None:
    arrays["log_mel"][row.number] = row.log_mel  # a mono window fills both channels
    arrays["activity"][row.number] = row.activity
    arrays["origin"][row.number] = row.origin
    if row.opinion.embedding is not None:
        arrays["embedding"][row.number] = row.opinion.embedding[0]
    if row.opinion.logits is not None:
        arrays["logits"][row.number] = row.opinion.logits[0]
