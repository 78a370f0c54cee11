"""New thresholds for a model, from hours in which none of its labels sounds."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2  # type: ignore[import-untyped]

from monitor.config.detection import DetectionSettings
from monitor.errors import DatasetError
from monitor.model.card import ModelCard, Thresholds
from monitor.model.model_file import TrainedModel
from monitor.model.networks.base import Network
from training.data.manifest import AUDIO_SUFFIXES
from training.evaluate.ambience import highest_of_segments, hop_seconds, stream_logits
from training.evaluate.clips import (
    ClipWindows,
    network_logits,
    per_clip,
    score_windows,
    sigmoid,
)
from training.evaluate.recall_cost import EventPrice
from training.evaluate.thresholds import Threshold, thresholds_for
from training.streams.evaluate import file_blocks

logger = logging.getLogger(__name__)


Array = NDArray[np.float32]
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class LabelPrice:
    """What a threshold brings and costs."""

    label: str
    threshold: Threshold
    counted: int
    """Stretches of the background that reached it."""
    rate_at_most: float
    """False alarms an hour that the count rules out beyond, with 95 % confidence."""
    recall: float | None
    """Share of the label's clips that reach it; None: there was none to ask."""


def background_scores(
    folder: Path,
    model: TrainedModel,
    detection: DetectionSettings,
    advance: Callable[[int, int], None],
) -> tuple[Array, float]:
    """The highest scores of every few seconds of all recordings below a folder.

    Args:
        folder: Of the recordings.
        model: Listens to them.
        detection: Has the hop, and over how many of them scores are averaged.
        advance: Told how many recordings of how many are done.

    Returns:
        (segments, labels), and how many hours they are.

    Raises:
        DatasetError: There is no recording, or all are shorter than a few seconds.
    """
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES
    )
    if not files:
        raise DatasetError(f"{folder}: holds no recording of a background")
    score = network_logits(model.network, model.spec)
    temperatures = model.temperatures.numpy()
    parts, hops = [], 1
    for number, path in enumerate(files, start=1):
        blocks = file_blocks(path, model.spec.sample_rate)
        logits = stream_logits(blocks, score, model.spec, detection)
        if logits.size:
            scores = sigmoid(logits / temperatures)[None]
            highest, hops = highest_of_segments(
                scores, model.card.labels, model.spec, detection
            )
            parts.append(highest)
        advance(number, len(files))
    segments = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    if len(segments) == 0:
        raise DatasetError(f"{folder}: its recordings are too short to judge from")
    seconds = len(segments) * hops * hop_seconds(model.spec, detection)
    return segments, seconds / 3600


def prices(
    segments: Array,
    hours: float,
    false_alarms_per_hour: float,
    labels: Sequence[str],
    clips: Array | None,
    truth: NDArray[np.intp] | None,
) -> list[LabelPrice]:
    """Thresholds for a budget, with what is known of their rates and their price.

    Args:
        segments: (segments, labels), highest scores of a background.
        hours: Length of the background.
        false_alarms_per_hour: Budget over all labels.
        labels: Names.
        clips: (clips, labels), scores of clips with labels, which say to which label
            the budget goes; None: there are none, and all get an equal share.
        truth: (clips,), index of the label of each.
    """
    heard = []
    if clips is not None and truth is not None:
        heard = [clips[truth == index, index] for index in range(len(labels))]
    found = thresholds_for(segments, hours, false_alarms_per_hour, heard)
    result = []
    for index, (label, threshold) in enumerate(zip(labels, found, strict=True)):
        counted = int((segments[:, index] >= threshold.onset).sum())
        # Garwood's limit of a Poisson rate: nothing in T hours still allows 3 / T.
        most = float(chi2.ppf(_CONFIDENCE, 2 * counted + 2)) / 2 / hours
        recall = None
        if heard and len(heard[index]):
            recall = float((heard[index] >= threshold.onset).mean())
        result.append(LabelPrice(label, threshold, counted, most, recall))
    return result


def clip_scores(model: TrainedModel, windows: ClipWindows) -> Array:
    """(clips, labels), scores as the monitor has them."""
    logits = score_windows(windows, network_logits(model.network, model.spec))
    return per_clip(sigmoid(logits / model.temperatures.numpy()), windows)


def with_thresholds(card: ModelCard, found: Sequence[LabelPrice]) -> ModelCard:
    """The card with these thresholds in place of its own."""
    thresholds = {
        price.label: Thresholds(
            onset=price.threshold.onset,
            offset=price.threshold.offset,
            false_alarms_per_hour=price.threshold.false_alarms_per_hour,
        )
        for price in found
    }
    return card.model_copy(update={"thresholds": thresholds})


def config_fragment(
    found: Sequence[LabelPrice], events: Mapping[str, EventPrice] | None = None
) -> str:
    """The thresholds as a section of config.yaml, what they cost as comments."""
    lines = ["detection:", "  labels:"]
    for price in found:
        threshold = price.threshold
        lines.append(
            f"    {price.label}: {{onset_threshold: {threshold.onset}, "
            f"offset_threshold: {threshold.offset}}}"
        )
        said = f"{24 * threshold.false_alarms_per_hour:.2g} false alarms a day"
        if threshold.extrapolated:
            said += ", extrapolated"
        if events is not None and (event := events.get(price.label)) is not None:
            said += (
                f"; misses {event.missed} of {event.events} events, before "
                f"{event.missed_before}"
            )
        lines.append(f"    # {said}")
    return "\n".join(lines) + "\n"


def fits_half(network: Network) -> bool:
    """Whether 16 bits hold the weights exactly, as when they were stored so before."""
    return all(
        torch.equal(value.half().to(value.dtype), value)
        for value in network.state_dict().values()
        if value.is_floating_point()
    )
