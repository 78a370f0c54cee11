"""Asks networks about recordings that they have not heard."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from monitor.model.networks.build import Network
from training.config import TrainingSettings
from training.data.manifest import Clip, Manifest
from training.data.splits import assign_folds, deal_clips
from training.evaluate.ambience import Ambience, listen_to_ambience
from training.evaluate.clips import (
    ClipWindows,
    clip_windows,
    network_logits,
    per_clip,
    score_windows,
    sigmoid,
)
from training.evaluate.out_of_fold import Evidence, HeldOut
from training.mixtures.material import Material
from training.progress import Checked, Validate

NEGATIVES_PARTS = 4
"""Parts of the negatives that no network hears: a network is tested on one of them, and
has its thresholds from the others.  Fewer would leave few recordings for either."""


class Examiner:
    """Recordings, and the ways in which networks are asked about them."""

    def __init__(
        self,
        material: Material,
        settings: TrainingSettings,
        device: str,
        advance: Callable[[str, int, int], None],
    ) -> None:
        self._material = material
        self._settings = settings
        self._device = device
        self._advance = advance

    @property
    def unheard(self) -> tuple[Clip, ...]:
        """Negatives that no network hears."""
        return self._material.negatives_of(self._settings.negatives_test_folds)

    def unheard_parts(self, folds: int) -> list[tuple[Clip, ...]]:
        """One part of them for each fold, and more from which thresholds come."""
        return deal_clips(self.unheard, max(folds, NEGATIVES_PARTS))

    def _windows(self, clips: Sequence[int]) -> ClipWindows:
        """The windows of the clips with these indices."""
        return clip_windows(
            [self._material.manifest.clips[index] for index in clips],
            self._material.store,
            self._settings.spec,
            lambda done, total: self._advance("computing features", done, total),
        )

    def validation(self, clips: Sequence[int]) -> Validate:
        """What tests a network on the clips with these indices."""
        # Not before they are needed: of several processes only one tests.
        windows = cache(lambda: self._windows(clips))
        labels = range(len(self._material.manifest.labels))

        def validate(network: Network) -> Checked:
            chosen = windows()
            score = network_logits(network, self._settings.spec, self._device)
            values = per_clip(sigmoid(score_windows(chosen, score)), chosen)
            heard = values.argmax(axis=1)
            counts = confusion_matrix(chosen.truth, heard, labels=labels)
            accuracy = float((heard == chosen.truth).mean())
            return Checked({"accuracy": accuracy}, counts.tolist())

        return validate

    def ask(
        self,
        network: Network,
        clips: Sequence[int],
        negatives: Sequence[Clip],
        part: int | None = None,
    ) -> Evidence:
        """What a network says of clips and of negatives.

        Args:
            network: On the CPU.
            clips: Indices.
            negatives: That it has not heard; may be empty.
            part: Of everything; None: recordings are dealt into the parts 0 and 1, and
                what it says of ambience made of each serves the other.
        """
        score = network_logits(network, self._settings.spec)
        heard = self._windows(clips)
        store = self._material.negatives_store
        own = HeldOut(heard, score_windows(heard, score), _parts(heard, part))
        if not negatives or store is None:
            return Evidence(own, None, ())
        windows = clip_windows(negatives, store, self._settings.spec)
        parts = _parts(windows, part)
        silent = HeldOut(windows, score_windows(windows, score), parts)
        ambience = self._of_parts(network, silent) if part is None else ()
        return Evidence(own, silent, ambience)

    def ask_negatives(
        self, network: Network, folds: Sequence[int]
    ) -> tuple[HeldOut, tuple[Ambience, ...]] | None:
        """What a network says of the negatives of some folds, dealt into parts."""
        clips = self._material.negatives_of(folds)
        store = self._material.negatives_store
        if not clips or store is None:
            return None
        spec = self._settings.spec
        windows = clip_windows(clips, store, spec)
        logits = score_windows(windows, network_logits(network, spec))
        heard = HeldOut(windows, logits, _parts(windows, None, NEGATIVES_PARTS))
        return heard, self._of_parts(network, heard)

    def _of_parts(self, network: Network, negatives: HeldOut) -> tuple[Ambience, ...]:
        """Of each part of the negatives an ambience that serves the others."""
        parts = [int(part) for part in np.unique(negatives.part)]
        return tuple(
            self._ambience(
                network, negatives.clips_of(part), [p for p in parts if p != part]
            )
            for part in parts
        )

    def ambience_for(
        self, network: Network, own: Sequence[Clip], fold: int, folds: Sequence[int]
    ) -> tuple[Ambience, ...]:
        """Hours from which thresholds come, where a fold and `own` are the test.

        They are of the negatives that neither the network nor its test has heard.  If
        there are none, those of the test serve the networks of the other folds.
        """
        others = [clip for clip in self.unheard if clip not in own]
        if others:
            return (self._ambience(network, others, (fold,)),)
        rest = [other for other in folds if other != fold]
        return (self._ambience(network, own, rest),) if own else ()

    def _ambience(
        self, network: Network, clips: Sequence[Clip], serves: Sequence[int]
    ) -> Ambience:
        """What a network makes of hours of recordings without any label.

        Args:
            network: On the CPU; has not heard them.
            clips: The recordings.
            serves: The parts that are tested on none of them.
        """
        settings, store = self._settings, self._material.negatives_store
        assert store is not None
        return listen_to_ambience(
            network_logits(network, settings.spec),
            list(clips),
            store,
            settings.spec,
            settings.ambience_hours,
            serves,
            lambda done, total: self._advance("listening to ambience", done, total),
        )


def _parts(windows: ClipWindows, part: int | None, count: int = 2) -> NDArray[np.intp]:
    """One part for all clips, or `count` parts of whole recordings."""
    clips = windows.clips
    count = min(count, len({clip.group for clip in clips}))
    if part is not None or count < 2:
        return np.full(len(clips), part or 0, np.intp)
    dealt = assign_folds(Manifest((), tuple(clips)), "group", count, 0)
    return np.array([clip.fold - 1 for clip in dealt.clips], np.intp)
