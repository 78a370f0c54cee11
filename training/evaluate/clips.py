"""Testing a network on clips, without augmentation and without a random draw.

Testing model files on labelled recordings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.errors import DatasetError
from monitor.model.frontend import LogMel
from monitor.model.model_file import TrainedModel, load_model
from monitor.model.networks.build import Network, count_parameters_and_macs
from monitor.spec import ModelSpec
from training.config import TrainingSettings
from training.data.decoded import ClipStore
from training.data.manifest import Clip, Manifest, relabel
from training.evaluate.metrics import folded_figures
from training.losses import expand_channels
from training.mixtures.background import evaluation_windows
from training.mixtures.dataset import to_log_mel
from training.mixtures.material import Advance, Material, Places, gather

Array = NDArray[np.float32]
Score = Callable[[Array], Array]
"""From log-mel windows (batch, 1 or 2, n_mels, frames) to (batch, labels)."""

BATCH = 32


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
    advance: Callable[[int, int], None] | None = None,
) -> ClipWindows:
    """Compute the log-mel of all windows of `clips`."""
    log_mel = LogMel(spec)
    features: list[NDArray[np.float16]] = []
    clip_of: list[int] = []
    for number, clip in enumerate(clips):
        windows = evaluation_windows(store.read(clip.path), spec)
        features.extend(to_log_mel(log_mel, windows).astype(np.float16))
        clip_of += [number] * len(windows)
        if advance is not None:
            advance(number + 1, len(clips))
    stacked = _stack_features(features)
    return ClipWindows(tuple(clips), stacked, np.array(clip_of, np.intp))


def _stack_features(features: list[NDArray[np.float16]]) -> NDArray[np.float16]:
    channels = max(window.shape[0] for window in features)
    return np.stack(
        [np.broadcast_to(window, (channels, *window.shape[1:])) for window in features]
    )


def network_logits(network: Network, spec: ModelSpec, device: str = "cpu") -> Score:
    """The logits of a network that is not in a model file yet."""

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


def clip_report(
    scores: Array, windows: ClipWindows, labels: Sequence[str]
) -> dict[str, Any]:
    """Figures of the scores (clips, labels) of `windows`, with those of each fold."""
    return folded_figures(scores, windows.truth, windows.groups, windows.folds, labels)


def cost_figures(network: Network, spec: ModelSpec) -> dict[str, int]:
    """Parameters and multiply-adds, as reports name them."""
    cost = count_parameters_and_macs(network, spec)
    return {"parameters": cost.parameters, "macs_per_window": cost.macs}


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
