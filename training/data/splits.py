"""Splits into training, validation and test: whole folds, always.

Clips without folds are first dealt into folds, by group by default.  With
slices of one recording on both sides, a network is tested on recordings that it knows.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.errors import DatasetError
from monitor.text import counted
from training.config import SplitKind
from training.data.manifest import NO_FOLD, Clip, Manifest


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of clips, without overlap."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def assign_folds(
    manifest: Manifest, kind: SplitKind, count: int, seed: int
) -> Manifest:
    """Give clips a fold in 1..count, unless the folds of the data are to be used.

    The only recording of a label stays in no fold: it is trained on, never tested.

    Args:
        manifest: Clips; those of no fold in a data set with folds stay there.
        kind: "fold" takes the data's own folds and, where it has none, makes them by
            group; "group" makes them of whole groups; "random" clip by clip.
        count: Folds to make.
        seed: Seed of the generator that deals.

    Raises:
        DatasetError: There are fewer groups than folds.
    """
    if kind == "fold" and manifest.has_folds:
        return manifest
    units: dict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(manifest.clips):
        unit = str(index) if kind == "random" else clip.group
        units[unit].append(index)
    if len(units) < count:
        raise DatasetError(
            f"{counted(len(units), 'recording')} cannot be dealt into {count} folds; "
            "add recordings, or choose fewer with 'train --folds'"
        )
    fold_of = _deal(manifest.clips, _dealt(manifest, units, count), count, seed)
    clips = tuple(
        replace(clip, fold=fold)
        for clip, fold in zip(manifest.clips, fold_of, strict=True)
    )
    return replace(manifest, clips=clips, has_folds=True)


def _dealt(
    manifest: Manifest, units: Mapping[str, list[int]], count: int
) -> list[list[int]]:
    """The units that are dealt: the only one of some label is always trained on."""
    labels_of = {
        unit: {manifest.clips[index].label for index in members}
        for unit, members in units.items()
    }
    count_of = Counter(label for labels in labels_of.values() for label in labels)
    known = range(len(manifest.labels))
    dealt = [
        members
        for unit, members in units.items()
        if not any(count_of[label] == 1 for label in labels_of[unit] if label in known)
    ]
    return dealt if len(dealt) >= count else list(units.values())


def _deal(
    clips: Sequence[Clip], units: list[list[int]], count: int, seed: int
) -> list[int]:
    """Deal units to folds, each to the fold with the fewest clips of its label."""
    order = np.random.default_rng(seed).permutation(len(units))
    # Large units first, so that the small ones even out what they leave.
    ranked = sorted(order, key=lambda unit: -len(units[unit]))
    load: list[Counter[int | None]] = [Counter() for _ in range(count)]
    fold_of = [NO_FOLD] * len(clips)
    for unit in ranked:
        label = clips[units[unit][0]].label
        fold = min(range(count), key=lambda f: (load[f][label], load[f].total()))
        for index in units[unit]:
            load[fold][clips[index].label] += 1
            fold_of[index] = fold + 1
    return fold_of


def deal_clips(clips: Sequence[Clip], count: int) -> list[tuple[Clip, ...]]:
    """Deal recordings without labels into parts of whole groups; the last may be empty.

    Always the same for the same clips.
    """
    groups = sorted({clip.group for clip in clips})
    order = np.random.default_rng(0).permutation(len(groups))
    part_of = {groups[group]: place % count for place, group in enumerate(order)}
    return [
        tuple(clip for clip in clips if part_of[clip.group] == part)
        for part in range(count)
    ]


def split(
    manifest: Manifest, test: Collection[int], validation: Collection[int] = ()
) -> Split:
    """Keep the folds `test` and `validation` apart; train on the rest.

    Raises:
        DatasetError: There is no such fold, one is in both, or nothing is left.
    """
    manifest.check_folds((*test, *validation))
    if both := set(test) & set(validation):
        raise DatasetError(f"fold {min(both)} cannot both validate and test")
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for index, clip in enumerate(manifest.clips):
        part = "train"
        if clip.fold in validation:
            part = "validation"
        if clip.fold in test:
            part = "test"
        parts[part].append(index)
    if not parts["train"]:
        raise DatasetError("all folds are kept for testing; nothing is left to learn")
    return Split(
        tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"])
    )
