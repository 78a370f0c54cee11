"""Testing a network on clips, without augmentation and without a random draw."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.model.frontend import LogMel
from monitor.model.network import Network, count_parameters_and_macs
from monitor.spec import ModelSpec
from training.clips.manifest import Clip
from training.clips.store import ClipStore
from training.learning.student import expand_channels
from training.mixing.dataset import to_log_mel
from training.mixing.windows import evaluation_windows
from training.testing.metrics import folded_figures

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
