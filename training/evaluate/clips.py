"""Evaluation on clips, without augmentation and without a random draw."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from monitor.errors import DatasetError, ModelFileError
from monitor.model.card import first_fault
from monitor.model.networks import Network, count_parameters_and_macs
from monitor.model.trained import TrainedModel, load_model
from monitor.spec import ModelSpec
from training.config import TrainingSettings
from training.data.decoded import Advance, ClipStore, ignore
from training.data.manifest import Clip, count_marked, relabel
from training.data.recordings import find_fold_models
from training.evaluate.ambience import Score
from training.evaluate.metrics import folded_figures
from training.losses import expand_channels
from training.mixtures.background import evaluation_windows
from training.mixtures.dataset import BatchLogMel
from training.mixtures.material import DataPaths, Material, gather

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]

BATCH = 32
TRAINED_CLIPS = "trained_clips"
"""Key of a card's `training`: marks of the clips that the model was trained on."""


@dataclass(frozen=True, slots=True)
class ClipWindows:
    """The windows of some clips, as log-mel."""

    clips: tuple[Clip, ...]
    log_mel: NDArray[np.float16]
    """(windows, 1 or 2, n_mels, window_frames), dB; half precision is 0.03 dB."""
    clip_of: NDArray[np.intp]
    """(windows,), index of the clip of each."""

    @property
    def truth(self) -> NDArray[np.intp]:
        """(clips,), index of each clip's label; -1 for none."""
        return np.array(
            [-1 if clip.label is None else clip.label for clip in self.clips], np.intp
        )

    @property
    def folds(self) -> NDArray[np.intp]:
        """(clips,), the fold of each."""
        return np.array([clip.fold for clip in self.clips], np.intp)

    @property
    def groups(self) -> list[str]:
        """The recording of each clip."""
        return [clip.group for clip in self.clips]


def clip_windows(
    clips: Sequence[Clip],
    store: ClipStore,
    spec: ModelSpec,
    advance: Advance = ignore,
) -> ClipWindows:
    """Compute the log-mel of all windows of `clips`."""
    log_mel = BatchLogMel(spec)
    features: list[NDArray[np.float16]] = []
    clip_of: list[int] = []
    for number, clip in enumerate(clips):
        windows = evaluation_windows(store.read(clip.path), spec)
        features.extend(log_mel(windows).astype(np.float16))
        clip_of += [number] * len(windows)
        advance("computing features", number + 1, len(clips))
    channels = max(window.shape[0] for window in features)
    shape = (channels, *features[0].shape[1:])
    stacked = np.stack([np.broadcast_to(window, shape) for window in features])
    return ClipWindows(tuple(clips), stacked, np.array(clip_of, np.intp))


def network_logits(network: Network, spec: ModelSpec, device: str = "cpu") -> Score:
    """Return a function that computes the logits of a network."""

    @torch.inference_mode()
    def score(log_mel: Array) -> Array:
        windows = torch.from_numpy(log_mel).to(device)
        logits = network(expand_channels(windows, spec.channels)).logits
        return np.asarray(logits.float().cpu().numpy(), np.float32)

    return score


def score_windows(windows: ClipWindows, score: Score) -> Array:
    """(windows, labels) of all windows, in batches."""
    batches = [
        score(windows.log_mel[start : start + BATCH].astype(np.float32))
        for start in range(0, len(windows.log_mel), BATCH)
    ]
    return np.concatenate(batches)


def per_clip(values: Array, windows: ClipWindows) -> Array:
    """Mean over the windows of each clip: (clips, labels)."""
    count = np.bincount(windows.clip_of, minlength=len(windows.clips))
    total = np.zeros((len(windows.clips), values.shape[1]), np.float32)
    np.add.at(total, windows.clip_of, values)
    return np.asarray(total / count[:, None], np.float32)


def sigmoid(logits: Array) -> Array:
    """Scores of logits."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))), np.float32)


def model_scores(
    model: TrainedModel, windows: ClipWindows, device: str = "cpu"
) -> Array:
    """(windows, labels), scores as the monitor computes them."""
    score = network_logits(model.network.to(device), model.spec, device)
    return sigmoid(score_windows(windows, score) / model.temperatures.numpy())


def clip_report(
    scores: Array, windows: ClipWindows, labels: Sequence[str]
) -> dict[str, Any]:
    """Figures of the scores (clips, labels) of `windows`, with those of each fold."""
    return folded_figures(scores, windows.truth, windows.groups, windows.folds, labels)


def negatives_figures(
    scores: Array, onsets: NDArray[np.floating], windows: ClipWindows
) -> dict[str, Any]:
    """Shares of the clips of no label in which some score is high.

    `onsets` are thresholds, (labels,) or (windows, labels), for `scores`, (windows,
    labels).
    """
    alarms = np.zeros((2, len(windows.clips)), bool)
    for row, limits in zip(alarms, (onsets, np.array(0.5)), strict=True):
        np.logical_or.at(row, windows.clip_of, (scores >= limits).any(axis=1))
    return {
        "clips": len(windows.clips),
        "share_above_threshold": float(alarms[0].mean()),
        "share_above_0.5": float(alarms[1].mean()),
    }


def cost_figures(network: Network, spec: ModelSpec) -> dict[str, int]:
    """Parameters and multiply-adds, as reports name them."""
    cost = count_parameters_and_macs(network, spec)
    return {"parameters": cost.parameters, "macs_per_window": cost.macs}


Report = tuple[dict[str, Any], tuple[str, ...]]
"""Figures, and the labels of the model."""


class ClipEvaluator:
    """Evaluates model files on the recordings of a data set."""

    def __init__(self, paths: DataPaths, advance: Advance, device: str) -> None:
        self._paths = paths
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
        card = model.card
        windows = self._windows(material, model, folds)
        scores = per_clip(model_scores(model, windows, self._device), windows)
        report = clip_report(scores, windows, card.labels)
        if (negatives := material.negatives) is not None:
            assert material.negatives_store is not None
            clips = negatives.of_folds(negatives_folds, "negatives")
            silent = clip_windows(clips, material.negatives_store, model.spec)
            onsets = [
                card.thresholds[label].onset if label in card.thresholds else 0.5
                for label in card.labels
            ]
            report["negatives"] = negatives_figures(
                model_scores(model, silent, self._device), np.array(onsets), silent
            )
        report |= cost_figures(model.network, model.spec)
        return {**report, "model": card.name}, card.labels

    def windows(self, model: TrainedModel, folds: Sequence[int] = ()) -> ClipWindows:
        """Compute the windows of the recordings of some folds, or of all.

        Raises:
            DatasetError: There is no such fold, or a label that the model has not.
        """
        material = self._gather(model, deal_folds=bool(folds))
        return self._windows(material, model, folds)

    def cross_validated(self, run: Path, folds: Sequence[int] = ()) -> Report:
        """Figures of the networks in a run folder, each on its own fold.

        Raises:
            DatasetError: The folder holds no cross-validation.
        """
        models = find_fold_models(run)
        scores, parts = [], []
        for fold, file in models.items():
            if folds and fold not in folds:
                continue
            model = load_model(file)
            material = self._gather(model, deal_folds=True)
            windows = self._windows(material, model, (fold,))
            own = model_scores(model, windows, self._device)
            scores.append(per_clip(own, windows))
            parts.append(windows)
        if not parts:
            raise DatasetError(f"{run}: holds no network of these folds: {folds}")
        clips = tuple(clip for windows in parts for clip in windows.clips)
        pooled = ClipWindows(clips, parts[0].log_mel[:0], np.zeros(0, np.intp))
        report = clip_report(np.concatenate(scores), pooled, model.card.labels)
        report |= cost_figures(model.network, model.spec)
        return {**report, "model": str(run)}, model.card.labels

    def _gather(self, model: TrainedModel, deal_folds: bool) -> Material:
        """Gather the recordings, dealt into the folds that training had."""
        fields = TrainingSettings.model_fields
        known = {k: v for k, v in model.card.training.items() if k in fields}
        try:
            settings = TrainingSettings.model_validate(
                # Clips are recordings of a sound alone, and have no background.
                {**known, "spec": model.spec.model_copy(update={"background": None})},
                strict=False,
            )
        except ValidationError as error:  # a model file may come from anybody
            raise ModelFileError(
                f"model {model.card.name}: card: training: {first_fault(error)}"
            ) from None
        return gather(self._paths, settings, self._advance, deal_folds)

    def _windows(
        self, material: Material, model: TrainedModel, folds: Sequence[int]
    ) -> ClipWindows:
        manifest = relabel(material.manifest, model.card.labels)
        clips = manifest.of_folds(folds)
        _warn_of_trained(clips, model)
        return clip_windows(
            clips,
            material.store,
            model.spec,
            self._advance,
        )


def _warn_of_trained(clips: Sequence[Clip], model: TrainedModel) -> None:
    """Warn if clips of a test were trained on, as far as the model file tells."""
    known = model.card.training.get(TRAINED_CLIPS)
    if not isinstance(known, str):
        logger.warning(
            "the model %s does not name the recordings that it was trained on: figures "
            "on these say little about new recordings",
            model.card.name,
        )
    elif count := count_marked(clips, known):
        logger.warning(
            "the model %s was trained on %d of these %d clips: the figures say little "
            "about new recordings; choose others with --folds",
            model.card.name,
            count,
            len(clips),
        )
