"""Target cache: mixtures that are made once, with the teacher's outputs for each.

A teacher is too slow to run anew in every epoch.  So the mixtures that on-the-fly
training would make are stored, with its outputs for the very same sound; training maps
them into memory and augments their features only.
"""

import hashlib
import json
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import UsageError
from training.checkpoint import InterruptedTrainingError
from training.data.decoded import Advance, to_channels
from training.distill.teacher import (
    LinearReadout,
    Teacher,
    fit_named_readout,
    fit_readout,
    named_weights,
)
from training.files import locked_folder, replace_text
from training.mixtures.dataset import Batch, Batches, BatchLogMel, in_threads
from training.mixtures.mixtures import Mixture, MixtureMaker

Array = NDArray[np.float32]


class TargetCache:
    """The windows of a target cache on disk, mapped into memory."""

    def __init__(self, folder: Path) -> None:
        facts = _read_facts(folder)
        self.folder = folder
        self.clips: int = facts["clips"]
        """The first rows are the unaltered clips, in their order."""
        self.log_mel = open_array(folder, "log_mel", "r")
        self.activity = open_array(folder, "activity", "r")
        self.origin = open_array(folder, "origin", "r")
        self.embedding = self._optional("embedding", facts)
        self.logits = self._optional("logits", facts)

    def _optional(self, name: str, facts: dict[str, Any]) -> Any:
        return open_array(self.folder, name, "r") if facts[name] else None

    def __len__(self) -> int:
        return len(self.origin)

    def rows(
        self, without_folds: Sequence[int], without_negatives: Sequence[int]
    ) -> NDArray[np.intp]:
        """Indices of the windows without these folds of clips and of negatives."""
        kept = ~np.isin(self.origin[:, 0], list(without_folds))
        kept &= ~np.isin(self.origin[:, 1], list(without_negatives))
        return np.flatnonzero(kept)

    def present(self, rows: NDArray[np.intp]) -> Array:
        """(rows, labels), 1 where a label sounds."""
        return np.asarray(self.activity[rows].max(axis=2) > 0, np.float32)


def open_array(folder: Path, name: str, mode: Literal["r", "r+"]) -> Any:
    """Map one array of a target cache.

    Raises:
        UsageError: It is damaged.
    """
    path = folder / f"{name}.npy"
    try:
        return np.lib.format.open_memmap(path, mode)
    except (EOFError, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / "targets.json"
    try:
        facts = dict(json.loads(path.read_text()))
        if missing := {"clips", "embedding", "logits"} - facts.keys():
            raise ValueError(f"without {', '.join(sorted(missing))}")
    except (OSError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None
    return facts


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{path}: is damaged ({error}); remove the folder, and it is made anew"
    )


class CachedBatches:
    """Batches of the windows of a target cache."""

    def __init__(
        self,
        cache: TargetCache,
        rows: NDArray[np.intp],
        clean_repeats: int,
        batch_size: int,
        seed: int,
        classes: Sequence[Sequence[int]] = (),
    ) -> None:
        self._cache = cache
        self._seed = seed
        clean = rows[rows < cache.clips]
        mixed = rows[rows >= cache.clips]
        self._rows = np.concatenate([np.tile(clean, clean_repeats), mixed])
        self._batch_size = min(batch_size, len(self._rows))
        self.steps_per_epoch = len(self._rows) // self._batch_size
        self.embedding_scale = _deviation(cache.embedding, rows)
        """(size,), deviation of the teacher's embedding over the windows used."""
        self.logits_scale = _deviation(cache.logits, rows)
        """(classes,), the same of its logits."""
        present = cache.present(rows)
        parts = [part for part in (cache.embedding, cache.logits) if part is not None]
        everything = np.concatenate(
            [np.asarray(part, np.float32) for part in parts], axis=1
        )
        if any(classes) and cache.logits is not None:
            size = everything.shape[1]
            start = named_weights(classes, size, size - cache.logits.shape[1])
            readout = fit_named_readout(everything[rows], present, start)
        else:
            readout = fit_readout(everything[rows], present)
        self._logits = readout.logits(everything)
        self._soft = readout.scores(everything)
        self.head_start: LinearReadout | None = None
        """Linear readout of the teacher's embedding: the initial head."""
        if cache.embedding is not None:
            self.head_start = fit_readout(np.asarray(cache.embedding[rows]), present)

    def head_targets(self) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets on which a head is fitted.

        Returns:
            The teacher's embedding, (rows, size), and the logits of the readout of all
            its outputs, (rows, labels).
        """
        assert self._cache.embedding is not None
        embedding = np.asarray(self._cache.embedding[self._rows], np.float32)
        return torch.from_numpy(embedding), torch.from_numpy(self._logits[self._rows])

    def batches(self, first_step: int, steps: int) -> Batches:
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
        cache = self._cache
        return Batch(
            cache.log_mel[rows].astype(np.float32),
            cache.activity[rows].astype(np.float32),
            _scaled(cache.embedding, rows, self.embedding_scale),
            _scaled(cache.logits, rows, self.logits_scale),
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
_DONE_EVERY = 512


_Row = tuple[int, dict[str, NDArray[Any]]]
"""Number of a window, and its arrays by name."""


class _Rows:
    """Makes the rows, each from a seed of its own; on several threads."""

    def __init__(self, maker: MixtureMaker, teacher: Teacher, seed: int) -> None:
        self._maker = maker
        self._teacher = teacher
        self._seed = seed
        self._log_mel = BatchLogMel(maker.spec)

    def make(self, number: int) -> _Row:
        """Make one row."""
        spec = self._maker.spec
        mixture = self._mixture(number)
        features = self._log_mel(mixture.samples[None])[0]
        waveform = self._teacher.waveform(mixture.full_scale, spec.sample_rate)
        outputs = self._teacher.run(waveform)
        row: dict[str, NDArray[Any]] = {
            "log_mel": to_channels(features, self._maker.channels).astype(np.float16),
            "activity": mixture.activity.astype(np.float16),
            "origin": np.array((mixture.fold, mixture.negatives_fold), np.int16),
        }
        if outputs.embedding is not None:
            row["embedding"] = outputs.embedding[0]
        if outputs.logits is not None:
            row["logits"] = outputs.logits[0].astype(np.float16)
        return number, row

    def _mixture(self, number: int) -> Mixture:
        clips = len(self._maker.clips)
        if number < clips:
            return self._maker.unaltered(number)
        r = np.random.default_rng([self._seed, 3, number])
        ambience = r.random() < self._maker.settings.ambience_items
        index = None if ambience else int(r.choice(clips, p=self._maker.weights))
        return self._maker.make(r, index)


def build_target_cache(
    folder: Path,
    maker: MixtureMaker,
    teacher: Teacher,
    mixtures: int,
    seed: int,
    workers: int,
    stop: threading.Event,
    advance: Advance,
) -> TargetCache:
    """Make a target cache, or complete it, or find it complete.

    Raises:
        UsageError: The folder has a target cache of other material or settings.
        InterruptedTrainingError: `stop` was set.
    """
    total = len(maker.clips) + mixtures
    rows = _Rows(maker, teacher, seed)
    with locked_folder(folder, lambda: _check(stop)):
        names = _create(folder, _facts(maker, teacher, total, seed), rows, total)
        _fill(folder, names, rows, workers, stop, advance)
    return TargetCache(folder)


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise InterruptedTrainingError(
            "stopped while another process made the target cache"
        )


def _fill(
    folder: Path,
    names: Sequence[str],
    rows: _Rows,
    workers: int,
    stop: threading.Event,
    advance: Advance,
) -> None:
    """Make the missing rows."""
    arrays = {name: open_array(folder, name, "r+") for name in names}
    done = arrays.pop("done")
    total, missing = len(done), np.flatnonzero(done == 0)
    made = total - len(missing)
    fresh: list[int] = []
    with closing(in_threads(rows.make, missing.tolist(), workers)) as rest:
        for number, row in rest:
            for name, value in row.items():
                arrays[name][number] = value
            fresh.append(number)
            made += 1
            advance("making mixtures", made, total)
            if stop.is_set() or len(fresh) >= _DONE_EVERY or made == total:
                # Marked only when they are on the disk: power may fail between.
                for array in arrays.values():
                    array.flush()
                done[fresh] = 1
                done.flush()
                fresh.clear()
            if stop.is_set():
                raise InterruptedTrainingError(
                    f"stopped with {made} of {total} windows of the target cache made; "
                    "--resume continues"
                )


def _facts(
    maker: MixtureMaker, teacher: Teacher, total: int, seed: int
) -> dict[str, Any]:
    clips = "\n".join(f"{clip.path} {clip.label} {clip.fold}" for clip in maker.clips)
    return {
        "format": _FORMAT,
        "rows": total,
        "clips": len(maker.clips),
        "clips_digest": _digest(clips.encode()),
        "teacher": teacher.digest,
        "seed": seed,
        "mixtures": maker.settings.model_dump(mode="json"),
        "spec": maker.spec.model_dump(mode="json", exclude={"background"}),
    }


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def _create(
    folder: Path, facts: dict[str, Any], rows: _Rows, total: int
) -> Sequence[str]:
    """Create empty files, unless they exist for the same material.

    Returns:
        The names of the arrays.
    """
    index = folder / "targets.json"
    _, first = rows.make(0)
    arrays = {**first, "done": np.zeros((), np.uint8)}
    has = {name: name in first for name in ("embedding", "logits")}
    if index.is_file():
        before = _read_facts(folder)
        for key, value in facts.items():
            if before.get(key) != value:
                raise UsageError(
                    f"{folder} has a target cache with another {key}; choose another "
                    "run folder"
                )
        if {name: before[name] for name in has} != has:
            raise _damaged(index, ValueError("it names other arrays"))
    for name, value in arrays.items():
        path, shape = folder / f"{name}.npy", (total, *value.shape)
        if index.is_file():
            # Not for writing: a file that was cut off would be filled with zeros.
            found = open_array(folder, name, "r")
            if (found.dtype, found.shape) != (value.dtype, shape):
                raise _damaged(path, ValueError(f"has {found.dtype} {found.shape}"))
        else:
            np.lib.format.open_memmap(path, "w+", value.dtype, shape).flush()
    if not index.is_file():
        replace_text(index, json.dumps(facts | has, indent=2))
    return list(arrays)
