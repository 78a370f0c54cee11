"""All that a run learns from and is tested on: clips, negatives, their samples."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.config import TrainingSettings
from training.data.decoded import ClipStore, open_store
from training.data.manifest import Clip, Manifest, join, read_manifest, read_negatives
from training.data.splits import assign_folds
from training.mixtures.mixtures import MixtureMaker

logger = logging.getLogger(__name__)


Advance = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much is."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the recordings are."""

    data: Path
    cache: Path
    """Folder for decoded recordings."""
    negatives: tuple[Path, ...] = ()
    also: tuple[Path, ...] = ()
    """Further data sets, which are always trained on."""
    label_pattern: str | None = None
    group_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """Recordings with folds, decoded."""

    manifest: Manifest
    store: ClipStore
    negatives: Manifest | None
    negatives_store: ClipStore | None

    def maker(
        self,
        clips: Sequence[int],
        negatives_without: Sequence[int],
        settings: TrainingSettings,
    ) -> MixtureMaker:
        """A maker of mixtures of some clips, without some folds of the negatives."""
        kept = [
            clip
            for clip in (self.negatives.clips if self.negatives else ())
            if clip.fold not in negatives_without
        ]
        return MixtureMaker(
            [self.manifest.clips[index] for index in clips],
            kept,
            self.store,
            self.negatives_store,
            len(self.manifest.labels),
            settings.spec,
            settings.mixtures,
        )

    def negatives_of(self, folds: Sequence[int]) -> tuple[Clip, ...]:
        """The negatives of some folds."""
        if self.negatives is None:
            return ()
        return tuple(clip for clip in self.negatives.clips if clip.fold in folds)


def gather(
    places: Places,
    settings: TrainingSettings,
    advance: Advance,
    deal_folds: bool = True,
) -> Material:
    """Find, sift, fold and decode the recordings; say what is left out.

    Args:
        places: Where they are.
        settings: How they are dealt into folds, and the rate of the model.
        advance: Told how decoding goes on.
        deal_folds: Whether recordings without folds get some.

    Raises:
        DatasetError: There is nothing usable, or too little for the folds.
    """
    manifest = read_manifest(places.data, places.label_pattern, places.group_pattern)
    if deal_folds:
        manifest = assign_folds(manifest, settings.split, settings.folds, settings.seed)
    for path in places.also:
        manifest = join(manifest, read_manifest(path, None, places.group_pattern))
    rate = settings.spec.sample_rate
    manifest, store = open_store(
        manifest,
        rate,
        places.cache,
        lambda done, total: advance("decoding recordings", done, total),
    )
    _tell(manifest, "recordings")
    for label, groups in manifest.few().items():
        logger.warning(
            "label '%s' has %d recordings, too few to learn it well", label, groups
        )
    if not places.negatives:
        return Material(manifest, store, None, None)
    return Material(
        manifest, store, *gather_negatives(places, settings, advance, deal_folds)
    )


def gather_negatives(
    places: Places,
    settings: TrainingSettings,
    advance: Advance,
    deal_folds: bool = True,
) -> tuple[Manifest, ClipStore]:
    """Find, sift, fold and decode the recordings of no class only.

    Raises:
        DatasetError: There is nothing usable.
    """
    negatives = read_negatives(places.negatives)
    if deal_folds:
        negatives = assign_folds(negatives, "fold", settings.folds, settings.seed)
    negatives, store = open_store(
        negatives,
        settings.spec.sample_rate,
        places.cache,
        lambda done, total: advance("decoding negatives", done, total),
    )
    _tell(negatives, "negatives")
    return negatives, store


def _tell(manifest: Manifest, what: str) -> None:
    groups = len({clip.group for clip in manifest.clips})
    logger.info(
        "%d clips of %d %s in folds %s; %d files left out",
        len(manifest.clips),
        groups,
        what,
        ", ".join(str(fold) for fold in manifest.folds) or "none",
        len(manifest.left_out),
    )
    for entry in manifest.left_out:
        logger.warning("left out: %s (%s)", entry.path, entry.reason)
