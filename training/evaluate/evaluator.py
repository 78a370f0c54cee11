"""Predictions of networks for recordings that they were not trained on."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from monitor.model.networks import Network
from training.config import TrainingSettings
from training.data.decoded import Advance
from training.data.manifest import Clip, Manifest
from training.data.splits import assign_folds, deal_clips
from training.evaluate.ambience import Ambience, hop_seconds, score_stream
from training.evaluate.clips import (
    ClipWindows,
    clip_windows,
    network_logits,
    per_clip,
    score_windows,
    sigmoid,
)
from training.evaluate.metrics import confusion_matrix
from training.evaluate.out_of_fold import OutOfFold, OutOfFoldLogits
from training.mixtures.material import Material
from training.progress import Validate, ValidationResult
from training.streams.scenes import SceneClips, SceneMaker, SceneSettings

_STREAM_MINUTES = 5.0
NEGATIVES_PARTS = 4
"""Parts of the test negatives: a network is tested on one of them, and has its
thresholds from the others.  Fewer would leave few recordings for either."""


class Evaluator:
    """Scores the recordings of a run with networks that were not trained on them."""

    def __init__(
        self,
        material: Material,
        settings: TrainingSettings,
        device: str,
        advance: Advance,
    ) -> None:
        self._material = material
        self._settings = settings
        self._device = device
        self._advance = advance

    @property
    def test_negatives(self) -> tuple[Clip, ...]:
        """Negatives that no network is trained on."""
        return self._material.negatives_of(self._settings.negatives_test_folds)

    def negatives_parts(self, folds: int) -> list[tuple[Clip, ...]]:
        """Deal the test negatives: one part for each fold, and more for thresholds."""
        return deal_clips(self.test_negatives, max(folds, NEGATIVES_PARTS))

    def _windows(self, clips: Sequence[int]) -> ClipWindows:
        return clip_windows(
            [self._material.manifest.clips[index] for index in clips],
            self._material.store,
            self._settings.spec,
            self._advance,
        )

    def validation(self, clips: Sequence[int]) -> Validate:
        """Return a function that evaluates a network on the clips of these indices."""
        # Not before they are needed: of several processes only one evaluates.
        windows = cache(lambda: self._windows(clips))
        labels = len(self._material.manifest.labels)

        def validate(network: Network) -> ValidationResult:
            chosen = windows()
            score = network_logits(network, self._settings.spec, self._device)
            scores = per_clip(sigmoid(score_windows(chosen, score)), chosen)
            highest = scores.argmax(axis=1)
            counts = confusion_matrix(chosen.truth, highest, labels)
            accuracy = float((highest == chosen.truth).mean())
            return ValidationResult({"accuracy": accuracy}, counts.tolist())

        return validate

    def predict(
        self,
        network: Network,
        clips: Sequence[int],
        negatives: Sequence[Clip],
        part: int | None = None,
    ) -> OutOfFold:
        """Score clips and negatives by a network that was not trained on them.

        `part` names all of them; None: recordings are dealt into the parts 0 and 1, and
        the ambience made of each serves the other.
        """
        score = network_logits(network, self._settings.spec)
        windows = self._windows(clips)
        own = OutOfFoldLogits(
            windows, score_windows(windows, score), _parts(windows, part)
        )
        store = self._material.negatives_store
        if not negatives or store is None:
            return OutOfFold(own, None, ())
        windows = clip_windows(negatives, store, self._settings.spec)
        parts = _parts(windows, part)
        silent = OutOfFoldLogits(windows, score_windows(windows, score), parts)
        ambience = self._of_parts(network, silent) if part is None else ()
        return OutOfFold(own, silent, ambience)

    def predict_negatives(
        self, network: Network, folds: Sequence[int]
    ) -> tuple[OutOfFoldLogits, tuple[Ambience, ...]] | None:
        """Score the negatives of some folds, dealt into parts; None: there are none."""
        silent = self.negatives_logits(network, folds)
        return None if silent is None else (silent, self._of_parts(network, silent))

    def negatives_logits(
        self, network: Network, folds: Sequence[int]
    ) -> OutOfFoldLogits | None:
        """Score clips alone: see `predict_negatives`."""
        clips = self._material.negatives_of(folds)
        store = self._material.negatives_store
        if not clips or store is None:
            return None
        spec = self._settings.spec
        windows = clip_windows(clips, store, spec)
        logits = score_windows(windows, network_logits(network, spec))
        parts = _parts(windows, None, NEGATIVES_PARTS)
        return OutOfFoldLogits(windows, logits, parts)

    def _of_parts(
        self, network: Network, negatives: OutOfFoldLogits
    ) -> tuple[Ambience, ...]:
        """Make of each part of the negatives an ambience that serves the others."""
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
        """Score the hours that set the thresholds where a fold and `own` are the test.

        They are of negatives that neither the network nor its test contains.  If there
        are none, those of the test serve the networks of the other folds.
        """
        others = [clip for clip in self.test_negatives if clip not in own]
        if others:
            return (self._ambience(network, others, (fold,)),)
        rest = [other for other in folds if other != fold]
        return (self._ambience(network, own, rest),) if own else ()

    def _ambience(
        self, network: Network, clips: Sequence[Clip], serves: Sequence[int]
    ) -> Ambience:
        """Score streams made of recordings of no class, one after the other."""
        spec = self._settings.spec
        scenes = SceneSettings(
            hours=max(self._settings.ambience_hours, _STREAM_MINUTES / 60),
            stream_minutes=_STREAM_MINUTES,
            events_per_minute=0,
        )
        backgrounds = SceneClips(list(clips), self._material.negatives_store)
        maker = SceneMaker(SceneClips(), backgrounds, (), spec.sample_rate, scenes)
        score, streams = network_logits(network, spec), []
        for scene in maker.scenes():
            streams.append(score_stream([scene.samples], score, spec))
            self._advance("scoring ambience", len(streams), maker.count)
        return Ambience(np.stack(streams), hop_seconds(spec), tuple(serves))


def _parts(windows: ClipWindows, part: int | None, count: int = 2) -> NDArray[np.intp]:
    """One part for all clips, or `count` parts of whole recordings."""
    clips = windows.clips
    count = min(count, len({clip.group for clip in clips}))
    if part is not None or count < 2:
        return np.full(len(clips), part or 0, np.intp)
    dealt = assign_folds(Manifest((), tuple(clips)), "group", count, 0)
    return np.array([clip.fold - 1 for clip in dealt.clips], np.intp)
