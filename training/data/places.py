"""Places: recordings without any label that show how places sound, dealt into parts.

Heads are fitted on three parts and tested on the fourth, so what sounds alike must be
in one part: whole groups are dealt, and groups that hold the same recording are joined.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.errors import DatasetError
from monitor.model.frontend import LogMel
from monitor.spec import ModelSpec
from monitor.text import counted
from training.data.decoded import ClipStore
from training.data.discovery import (
    file_of,
    find_in_name,
    own_group,
    unmatched_notes,
)
from training.data.manifest import NO_FOLD, Clip, LeftOut, Manifest, check_files
from training.data.recordings import check_folder, find_recordings
from training.data.tables import read_table

PLACE_PARTS = 4
"""Parts of the places: three to learn from, and one that none of it was fitted on."""
FEWEST_GROUPS = 2 * PLACE_PARTS
"""With fewer groups, a part would be a single place."""
_SAME_DB = 0.15
"""Largest difference of the same recording, encoded twice; takes of one place differ by
more than twice as much."""


@dataclass(frozen=True, slots=True)
class Places:
    """Recordings of places, decoded; the fold of each is its part."""

    clips: tuple[Clip, ...]
    store: ClipStore

    def of(self, parts: Collection[int]) -> tuple[Clip, ...]:
        """Return the recordings of some parts."""
        return tuple(clip for clip in self.clips if clip.fold in parts)

    def names(self) -> dict[Path, str]:
        """Return the names of the recordings, each its own: as short as can be."""
        found: dict[Path, str] = {}
        paths = {clip.path for clip in self.clips}
        for length in range(1, max((len(p.parts) for p in paths), default=0) + 1):
            ends = {p: "/".join(p.with_suffix("").parts[-length:]) for p in paths}
            counts = Counter(ends.values())
            found |= {p: end for p, end in ends.items() if counts[end] == 1}
            paths -= found.keys()
        # Formats of one recording differ in their endings alone.
        return found | {path: str(path) for path in paths}

    def groups(self) -> dict[str, str]:
        """Return the place of each recording, by the recording's name."""
        names = self.names()
        return {names[clip.path]: clip.group for clip in self.clips}


def read_places(
    paths: Sequence[Path], pattern: str | None = None, seen: set[bytes] | None = None
) -> Manifest:
    """Find the recordings of places, in no fold yet.

    Args:
        paths: Tables with the columns path[,group], paths relative to each, or folders.
        pattern: Regular expression that is searched in a file's name; its first group,
            or the whole of what it finds, names the group.  Where it finds nothing, the
            group is that of the table, else the file is one of its own.
        seen: Hashes of files with a label and of negatives, which are left out.

    Raises:
        UsageError: There is no such folder, or the pattern is none.
        DatasetError: There is nothing usable, or a table breaks a rule.
    """
    manifest = find_places(paths, pattern)
    return check_files(manifest, set() if seen is None else seen)


def find_places(paths: Sequence[Path], pattern: str | None = None) -> Manifest:
    """Find the recordings of places as `read_places`, by their names alone."""
    clips: list[Clip] = []
    left_out: list[LeftOut] = []
    for number, path in enumerate(paths):
        prefix = f"{number} " if number else ""
        if path.is_file():
            named = _from_table(path)
        else:
            check_folder(path, "places (--places)")
            found = find_recordings(path)
            left_out += found.left_out
            named = [(file, own_group(path, file)) for file in found.files]
        if not named:
            raise DatasetError(f"--places {path}: names no recording")
        for file, group in named:
            theme = pattern and find_in_name(pattern, file.name)
            clips.append(Clip(file, None, theme or prefix + group, NO_FOLD))
    notes: tuple[str, ...] = ()
    if pattern is not None:
        notes = tuple(unmatched_notes("--place-pattern", pattern, clips))
    origin = f"--places {', '.join(map(str, paths))}"
    return Manifest((), tuple(clips), tuple(left_out), notes=notes, origin=origin)


def _from_table(path: Path) -> list[tuple[Path, str]]:
    named = []
    for row in read_table(path, ("path",)).rows:
        file = file_of(row, path.parent)
        group = row.cells.get("group", "")
        if row.is_missing("group"):
            group = own_group(path.parent, file)
        named.append((file, group))
    return named


def deal_places(manifest: Manifest, store: ClipStore, spec: ModelSpec) -> Manifest:
    """Deal places into `PLACE_PARTS` parts, their folds, of about equal length.

    Always the same for the same recordings.

    Raises:
        DatasetError: There are too few groups.
    """
    clips = _joined(manifest.clips, store, spec)
    seconds: dict[str, float] = defaultdict(float)
    for clip in clips:
        samples = store.sound(clip.path).shape[1]
        seconds[clip.group] += spec.seconds(samples)
    if len(seconds) < FEWEST_GROUPS:
        raise DatasetError(
            f"--places: {counted(len(seconds), 'different place')}, too few to learn "
            f"from some and to test on others; give at least {FEWEST_GROUPS}"
        )
    names = sorted(seconds)
    order = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    load = [0.0] * PLACE_PARTS
    part_of: dict[str, int] = {}
    # The longest first, so that short ones even out what they leave.
    for name in sorted(order, key=lambda name: -seconds[name]):
        part = load.index(min(load))
        part_of[name] = part
        load[part] += seconds[name]
    dealt = tuple(replace(clip, fold=part_of[clip.group]) for clip in clips)
    return replace(manifest, clips=dealt, has_folds=True)


def _joined(
    clips: Sequence[Clip], store: ClipStore, spec: ModelSpec
) -> tuple[Clip, ...]:
    """Give groups that hold the same recording the name of the first of them."""
    log_mel = LogMel(spec)
    sounds = np.stack([_describe(store, clip, log_mel) for clip in clips])
    leader = {clip.group: clip.group for clip in clips}
    for index, clip in enumerate(clips):
        apart = np.sqrt(np.square(sounds[:index] - sounds[index]).mean(axis=1))
        for same in np.flatnonzero(apart < _SAME_DB):
            old, new = leader[clip.group], leader[clips[int(same)].group]
            leader = {name: new if of == old else of for name, of in leader.items()}
    return tuple(replace(clip, group=leader[clip.group]) for clip in clips)


def _describe(store: ClipStore, clip: Clip, log_mel: LogMel) -> NDArray[np.float32]:
    """Mean of each band relative to all, and its deviation: (2 * n_mels,), dB."""
    samples = store.sound(clip.path).mean(axis=0, keepdims=True)
    missing = max(0, log_mel.spec.frame_samples - samples.shape[1])
    (bands,) = log_mel(np.pad(samples, ((0, 0), (0, missing))))
    mean = bands.mean(axis=1)
    return np.concatenate([mean - mean.mean(), bands.std(axis=1)])
