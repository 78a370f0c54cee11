"""The material of a run: clips, negatives, and their decoded samples."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.config import TrainingSettings
from training.data.decoded import Advance, ClipStore, open_store
from training.data.discovery import read_manifest, read_negatives
from training.data.manifest import FEW_GROUPS, Clip, Manifest, join
from training.data.places import Places, deal_places, read_places
from training.data.splits import assign_folds
from training.files import make_folder
from training.mixtures.mixtures import MixtureMaker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataPaths:
    """Paths of the recordings."""

    data: Path
    cache: Path
    """Folder for decoded recordings."""
    negatives: tuple[Path, ...] = ()
    also: tuple[Path, ...] = ()
    """Further data sets, which are always trained on."""
    label_pattern: str | None = None
    group_pattern: str | None = None
    places: tuple[Path, ...] = ()
    """Tables or folders of recordings of places, which the blocks never learn from."""
    place_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """Recordings with folds, decoded."""

    manifest: Manifest
    store: ClipStore
    negatives: Manifest | None
    negatives_store: ClipStore | None
    places: Places | None = None

    def maker(
        self,
        clips: Sequence[int],
        negatives_without: Sequence[int],
        settings: TrainingSettings,
    ) -> MixtureMaker:
        """Make mixtures of some clips, by index, without some folds of negatives."""
        return MixtureMaker(
            [self.manifest.clips[index] for index in clips],
            self.negatives_without(negatives_without),
            self.store,
            self.negatives_store,
            len(self.manifest.labels),
            settings.spec,
            settings.mixtures,
        )

    def facts(self) -> dict[str, Any]:
        """Return what identifies the recordings: a resumed run must have the same."""
        clips = (
            *self.manifest.clips,
            *(self.negatives.clips if self.negatives else ()),
        )
        digest = hashlib.blake2b(digest_size=16)
        for clip in clips:
            of = f"{clip.label} {clip.fold} {clip.group}\n"
            digest.update(clip.digest + of.encode(errors="surrogateescape"))
        return {
            "labels": list(self.manifest.labels),
            "clips": len(clips),
            "digest": digest.hexdigest(),
        }

    def negatives_without(self, folds: Sequence[int]) -> tuple[Clip, ...]:
        """Return the negatives but those of some folds."""
        if self.negatives is None:
            return ()
        return tuple(clip for clip in self.negatives.clips if clip.fold not in folds)

    def negatives_of(self, folds: Sequence[int]) -> tuple[Clip, ...]:
        """Return the negatives of some folds."""
        if self.negatives is None:
            return ()
        return tuple(clip for clip in self.negatives.clips if clip.fold in folds)


def gather(
    paths: DataPaths,
    settings: TrainingSettings,
    advance: Advance,
    deal_folds: bool = True,
) -> Material:
    """Find, check, fold and decode the recordings; log what is used and left out.

    Raises:
        DatasetError: There is nothing usable, or too little for the folds.
    """
    seen: set[bytes] = set()
    patterns = paths.label_pattern, paths.group_pattern
    manifest = read_manifest(paths.data, *patterns, seen)
    if deal_folds:
        manifest = assign_folds(manifest, settings.split, settings.folds, settings.seed)
    for path in paths.also:
        manifest = join(manifest, read_manifest(path, None, patterns[1], seen))
    manifest, store = _decode(manifest, settings, paths, advance, "recording")
    if few := manifest.few():
        logger.warning(
            "labels with fewer than %d recordings, too few to learn them well: %s",
            FEW_GROUPS,
            ", ".join(f"{label} {count}" for label, count in few.items()),
        )
    if not paths.negatives:
        return Material(manifest, store, None, None)
    material = Material(
        manifest, store, *gather_negatives(paths, settings, advance, deal_folds, seen)
    )
    if not paths.places:
        return material
    found = read_places(paths.places, paths.place_pattern, seen)
    found, store = _decode(found, settings, paths, advance, "place")
    dealt = deal_places(found, store, settings.spec)
    return replace(material, places=Places(dealt.clips, store))


def gather_negatives(
    paths: DataPaths,
    settings: TrainingSettings,
    advance: Advance,
    deal_folds: bool = True,
    seen: set[bytes] | None = None,
) -> tuple[Manifest, ClipStore]:
    """Find, check, fold and decode the recordings of no class only.

    Files whose hash is in `seen` are left out: they have a label.

    Raises:
        DatasetError: There is nothing usable.
    """
    negatives = read_negatives(paths.negatives, seen)
    if deal_folds:
        negatives = assign_folds(negatives, "fold", settings.folds, settings.seed)
    return _decode(negatives, settings, paths, advance, "negative")


def _decode(
    manifest: Manifest,
    settings: TrainingSettings,
    paths: DataPaths,
    advance: Advance,
    what: str,
) -> tuple[Manifest, ClipStore]:
    make_folder(paths.cache, "--cache")
    manifest, store = open_store(
        manifest,
        settings.spec.sample_rate,
        paths.cache,
        advance,
    )
    is_plain = not (manifest.left_out or manifest.notes)
    level = logging.INFO if is_plain else logging.WARNING
    logger.log(level, "%s", "\n".join(manifest.summary(what)))
    return manifest, store
