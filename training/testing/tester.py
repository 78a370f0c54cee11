"""Testing model files on labelled recordings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitor.errors import DatasetError
from monitor.model.model_file import TrainedModel, load_model
from training.clips.manifest import Clip, Manifest, relabel
from training.config import TrainingSettings
from training.mixing.material import Advance, Material, Places, gather
from training.testing.evaluate import (
    ClipWindows,
    clip_report,
    clip_windows,
    cost_figures,
    network_logits,
    per_clip,
    score_windows,
    sigmoid,
)

Report = tuple[dict[str, Any], tuple[str, ...]]


class Tester:
    """Recordings on which models are tested."""

    def __init__(self, places: Places, advance: Advance, device: str) -> None:
        self._places = places
        self._advance = advance
        self._device = device

    def model(
        self,
        model: TrainedModel,
        folds: Sequence[int] = (),
        negatives_folds: Sequence[int] = (),
    ) -> Report:
        """Figures of one model on the recordings of some folds, or on all.

        Raises:
            DatasetError: There is no such fold, or a label that the model has not.
        """
        material = self._gather(model, deal_folds=bool(folds or negatives_folds))
        manifest = relabel(material.manifest, model.card.labels)
        windows = self._windows(manifest, material, model, folds)
        report = clip_report(self._scores(model, windows), windows, model.card.labels)
        if material.negatives is not None:
            clips = material.negatives.clips
            if negatives_folds:
                clips = material.negatives_of(negatives_folds)
            report["negatives"] = self._negatives(model, material, clips)
        report |= cost_figures(model.network, model.spec)
        return {**report, "model": model.card.name}, model.card.labels

    def windows(self, model: TrainedModel, folds: Sequence[int] = ()) -> ClipWindows:
        """The windows of the recordings of some folds, or of all, for a model.

        Raises:
            DatasetError: There is no such fold, or a label that the model has not.
        """
        material = self._gather(model, deal_folds=bool(folds))
        manifest = relabel(material.manifest, model.card.labels)
        return self._windows(manifest, material, model, folds)

    def cross_validated(self, run: Path, folds: Sequence[int] = ()) -> Report:
        """Figures of the networks in a run folder, each on its own fold.

        Raises:
            DatasetError: The folder holds no cross-validation.
        """
        files = sorted(run.glob("fold*/model.safetensors"))
        if not files:
            raise DatasetError(f"{run}: holds no networks of a cross-validation")
        models = {int(file.parent.name.removeprefix("fold")): file for file in files}
        scores, parts = [], []
        for fold, file in models.items():
            if folds and fold not in folds:
                continue
            model = load_model(file)
            material = self._gather(model, deal_folds=True)
            manifest = relabel(material.manifest, model.card.labels)
            windows = self._windows(manifest, material, model, (fold,))
            scores.append(self._scores(model, windows))
            parts.append(windows)
        if not parts:
            raise DatasetError(f"{run}: holds no network of these folds: {folds}")
        clips = tuple(clip for windows in parts for clip in windows.clips)
        pooled = ClipWindows(clips, parts[0].log_mel[:0], np.zeros(0, np.intp))
        report = clip_report(np.concatenate(scores), pooled, model.card.labels)
        report |= cost_figures(model.network, model.spec)
        return {**report, "model": str(run)}, model.card.labels

    def _gather(self, model: TrainedModel, deal_folds: bool) -> Material:
        """The recordings, dealt into the folds that training had."""
        fields = TrainingSettings.model_fields
        known = {k: v for k, v in model.card.training.items() if k in fields}
        settings = TrainingSettings.model_validate(
            {**known, "spec": model.spec}, strict=False
        )
        return gather(self._places, settings, self._advance, deal_folds)

    def _windows(
        self,
        manifest: Manifest,
        material: Material,
        model: TrainedModel,
        folds: Sequence[int],
    ) -> ClipWindows:
        for fold in folds:
            if fold not in manifest.folds:
                known = ", ".join(str(number) for number in manifest.folds)
                raise DatasetError(
                    f"there is no fold {fold} in the data; found {known}"
                )
        clips = [clip for clip in manifest.clips if not folds or clip.fold in folds]
        return clip_windows(
            clips,
            material.store,
            model.spec,
            lambda done, total: self._advance("computing features", done, total),
        )

    def _scores(self, model: TrainedModel, windows: ClipWindows) -> Any:
        network = model.network.to(self._device)
        logits = score_windows(
            windows, network_logits(network, model.spec, self._device)
        )
        return per_clip(sigmoid(logits / model.temperatures.numpy()), windows)

    def _negatives(
        self, model: TrainedModel, material: Material, clips: Sequence[Clip]
    ) -> dict[str, Any]:
        store = material.negatives_store
        assert store is not None
        windows = clip_windows(clips, store, model.spec)
        logits = score_windows(
            windows, network_logits(model.network, model.spec, self._device)
        )
        scores = sigmoid(logits / model.temperatures.numpy())
        card = model.card
        onsets = np.array(
            [
                card.thresholds[label].onset if label in card.thresholds else 0.5
                for label in card.labels
            ]
        )
        alarm = np.zeros(len(windows.clips), bool)
        np.logical_or.at(alarm, windows.clip_of, (scores >= onsets).any(axis=1))
        half = np.zeros(len(windows.clips), bool)
        np.logical_or.at(half, windows.clip_of, (scores >= 0.5).any(axis=1))
        return {
            "clips": len(alarm),
            "share_above_threshold": float(alarm.mean()),
            "share_above_0.5": float(half.mean()),
        }
