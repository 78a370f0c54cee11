"""A batch as the network gets it, the student, and the terms of its loss.

A student is a network in training, with the further heads by which it learns from a
teacher.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from monitor.model.networks import Network
from training.config import Precision, TrainingSettings
from training.mixtures import augment
from training.mixtures.dataset import Batch
from training.mixtures.mixtures import FRAMES_PER_CELL

Array = NDArray[np.float32]
TERMS = ("scores", "columns", "embedding", "logits")
"""Terms of the loss; not every network and batch has all."""
_LONGEST = 5.0
"""Distance in deviations from which on a feature counts no more."""


class StudentOutputs(NamedTuple):
    """Outputs of a student for a batch of windows."""

    logits: Tensor
    """(batch, labels)."""
    activity: Tensor | None
    """(batch, labels, columns); None: not requested."""
    embedding: Tensor | None
    """(batch, size of the teacher's embedding) in its deviations, if it has that."""
    teacher_logits: Tensor | None
    """(batch, classes of the teacher) in their deviations, if it has that."""


class Student(nn.Module):
    """A network, and the heads that are dropped after training.

    Where the pooled features are as many as the teacher's embedding, they learn to be
    that embedding; else a linear layer stands between the two.

    Args:
        network: The part that is kept.
        embedding_scale: (size,), deviations of the teacher's embedding; None: there is
            none to learn from.
        logits_scale: (classes,), the same of its logits.
        classifier: The teacher's own, from embedding to logits, which stays as it is;
            None: a linear layer learns it.
        label_gradient: Share of the gradient of `logits` and `activity` that goes
            beyond the heads.
    """

    embedding_scale: Tensor
    logits_scale: Tensor

    def __init__(
        self,
        network: Network,
        embedding_scale: Tensor | None = None,
        logits_scale: Tensor | None = None,
        classifier: nn.Module | None = None,
        label_gradient: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.label_gradient = label_gradient
        none = torch.ones(0)
        for name, scale in (
            ("embedding_scale", embedding_scale),
            ("logits_scale", logits_scale),
        ):
            self.register_buffer(name, none if scale is None else scale)
        size, classes = len(self.embedding_scale), len(self.logits_scale)
        features = feature_count(network)
        self.embedding_head = (
            nn.Identity() if size in (0, features) else nn.Linear(features, size)
        )
        if classifier is not None:
            classifier.requires_grad_(False)
        elif classes:
            classifier = nn.Linear(size or features, classes)
        self.classifier = classifier

    @property
    def has_optional_heads(self) -> bool:
        """True if some heads have no part in the loss of every batch."""
        heads = (self.network.column_head, self.classifier)
        return any(head is not None for head in heads) or len(self.embedding_scale) > 0

    @property
    def is_embedding(self) -> bool:
        """True if the features of the network learn to be the teacher's embedding."""
        return feature_count(self.network) == len(self.embedding_scale)

    def forward(self, log_mel: Tensor, columns: bool) -> StudentOutputs:
        """Compute the outputs for (batch, channels, n_mels, frames) in dB."""
        network = self.network
        features = network.columns(log_mel)  # (batch, features, columns)
        pooled = network.embed(features)  # (batch, features)
        embedding = self.embedding_head(pooled)  # (batch, size)
        pooled, features = self._held_back(pooled), self._held_back(features)
        activity = None
        if columns:
            head = network.column_head or network.head
            activity = head(features.transpose(1, 2)).transpose(1, 2)
        teacher_logits = None
        if self.classifier is not None and len(self.logits_scale):
            teacher_logits = self.classifier(embedding) / self.logits_scale
        return StudentOutputs(
            network.head(pooled),
            activity,
            embedding / self.embedding_scale if len(self.embedding_scale) else None,
            teacher_logits,
        )

    def _held_back(self, features: Tensor) -> Tensor:
        """Return the same numbers, through which less of the gradient flows."""
        if self.label_gradient == 1:
            return features
        return features.detach().lerp(features, self.label_gradient)


def feature_count(network: Network) -> int:
    """Count the features that the head of a network gets."""
    was_training = network.training
    bands = network.normalise.mean.shape[0]
    channels = next(
        module.in_channels
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    )
    with torch.no_grad():
        windows = torch.zeros(1, channels, bands, 16 * network.total_stride)
        pooled = network.eval().embed(network.columns(windows))
    network.train(was_training)
    return int(pooled.shape[1])


def expand_channels(log_mel: Tensor, channels: int) -> Tensor:
    """Give a mono log-mel the channels that a network takes: equal ones."""
    return log_mel.expand(-1, channels, -1, -1)


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch with augmented features, and its targets."""

    log_mel: Array
    targets: Array
    """(batch, labels), in [0, 1]."""
    present: NDArray[np.bool_]
    """(batch, labels): which labels sound."""
    activity: Array
    """(batch, labels, cells), in [0, 1]."""
    unmixed: NDArray[np.bool_]
    """(batch,): the teacher's targets are of the very same sound."""
    embedding: Array | None
    teacher_logits: Array | None


def prepare_batch(
    r: Generator, batch: Batch, settings: TrainingSettings
) -> PreparedBatch:
    """Augment the features of a batch, and its targets with them.

    The batch itself is left as it is.
    """
    chosen = settings.features
    log_mel, activity = batch.log_mel.copy(), batch.activity.copy()
    if chosen.roll:
        augment.roll(r, log_mel, activity, FRAMES_PER_CELL)
    augment.vary_levels(r, log_mel, chosen)
    present = activity.max(axis=2) > 0
    targets = _soften(present, batch.soft, settings)
    count = len(log_mel)
    mixed = np.zeros(count, bool)
    if chosen.mix_share > 0:
        partner = r.permutation(count)
        mixed = (r.random(count) < chosen.mix_share) & (partner != np.arange(count))
        augment.mix_powers(r, log_mel, partner, mixed)
        for values in (targets, activity, present):
            values[mixed] = np.maximum(values[mixed], values[partner[mixed]])
    np.maximum(log_mel, settings.spec.floor_db, out=log_mel)
    augment.mask(r, log_mel, chosen)
    return PreparedBatch(
        log_mel,
        targets,
        present,
        activity,
        ~mixed,
        batch.embedding,
        batch.teacher_logits,
    )


def _soften(
    present: NDArray[np.bool_], soft: Array | None, settings: TrainingSettings
) -> Array:
    smoothing = np.float32(settings.optimiser.label_smoothing)
    targets = present.astype(np.float32) * (1 - 2 * smoothing) + smoothing
    if soft is not None:
        share = np.float32(settings.teacher.soft_share)
        targets = targets * (1 - share) + soft * share
    return np.asarray(targets, np.float32)


def compute_losses(
    student: Student,
    prepared: PreparedBatch,
    settings: TrainingSettings,
    device: str,
    model: nn.Module | None = None,
) -> tuple[dict[str, Tensor], NDArray[np.intp]]:
    """Compute the weighted terms of the loss, by name of `TERMS`.

    Returns:
        The terms; (batch,), the label with the highest score of each window.
    """
    labels = prepared.targets.shape[1]
    wants_columns = settings.optimiser.column_weight > 0
    log_mel = expand_channels(
        torch.from_numpy(prepared.log_mel).to(device), settings.spec.channels
    )
    with mixed_precision(device, settings.optimiser.precision):
        raw = (model or student)(log_mel, wants_columns)
    outputs = StudentOutputs._make(
        None if each is None else each.float() for each in raw
    )
    targets = torch.from_numpy(prepared.targets).to(device)
    cross_entropy = functional.binary_cross_entropy_with_logits
    # Summed over the labels, so that the weight of the other terms does not depend
    # on how many labels there are.
    terms = {"scores": cross_entropy(outputs.logits, targets) * labels}
    if outputs.activity is not None:
        activity = columns_of(prepared.activity, student.network.total_stride)
        columns = min(activity.shape[-1], outputs.activity.shape[-1])
        wanted = torch.from_numpy(activity[..., :columns]).to(device)
        weight = settings.optimiser.column_weight * labels
        terms["columns"] = (
            cross_entropy(outputs.activity[..., :columns], wanted) * weight
        )
    terms |= _teacher_terms(outputs, prepared, settings, device)
    return terms, outputs.logits.detach().argmax(dim=1).cpu().numpy()


def mixed_precision(device: str, precision: Precision) -> torch.autocast:
    """Let the network multiply in 16 bits; its weights and the loss keep 32."""
    kind = device.partition(":")[0]
    wanted = precision == "bfloat16"
    if precision == "auto" and kind == "cuda":
        wanted = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(kind, torch.bfloat16, enabled=wanted)


def _teacher_terms(
    outputs: StudentOutputs,
    prepared: PreparedBatch,
    settings: TrainingSettings,
    device: str,
) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = {}
    if not prepared.unmixed.any():
        return terms
    unmixed = torch.from_numpy(prepared.unmixed).to(device)
    weights = settings.teacher
    for name, own, wanted, weight in (
        ("embedding", outputs.embedding, prepared.embedding, weights.embedding_weight),
        (
            "logits",
            outputs.teacher_logits,
            prepared.teacher_logits,
            weights.logits_weight,
        ),
    ):
        if own is not None and wanted is not None and weight > 0:
            distance = (own - torch.from_numpy(wanted).to(device))[unmixed].square()
            # A few features of a teacher have long tails, which would rule the rest.
            terms[name] = distance.clamp_max(_LONGEST**2).mean() * weight
    return terms


def columns_of(activity: Array, total_stride: int) -> Array:
    """Average activity (batch, labels, cells) over the columns of a network.

    Each column is centred on its first frame.

    Returns:
        (batch, labels, columns), at least as many as the network has.
    """
    cells = max(1, total_stride // FRAMES_PER_CELL)
    count = -(-activity.shape[2] // cells)
    before, after = cells // 2, count * cells - activity.shape[2]
    padded = np.pad(activity, ((0, 0), (0, 0), (before, after)), mode="edge")
    grouped = padded[..., : count * cells].reshape(*activity.shape[:2], count, cells)
    return np.asarray(grouped.mean(axis=3), np.float32)
