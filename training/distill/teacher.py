"""A teacher: an ONNX model of a waveform; its linear readout and linear probe."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import soxr
import torch
from numpy.typing import NDArray
from torch.nn import functional

from monitor.errors import UsageError
from monitor.spec import ModelSpec
from training.data.decoded import Advance
from training.data.manifest import Clip
from training.mixtures.material import Material

Array = NDArray[np.float32]

_SHORTEST_CLIP_SECONDS = 1
_PROBE_INVERSE_RIDGE = 0.01
_PROBE_ITERATIONS = 2000
_RIDGE = 1e-2
_HIGH_RIDGE = 1.0
_NAMED = 3.0
"""Initial weight of the classes of the same name as a label."""
_ITERATIONS = 60


@dataclass(frozen=True, slots=True)
class TeacherOutputs:
    """Outputs of a teacher for a batch of windows."""

    embedding: Array | None
    """(batch, size)."""
    logits: Array | None
    """(batch, classes)."""


class Teacher:
    """An ONNX model with a mono waveform as input.

    The output `embedding` is taken as such, and so is `logits`; without that, `scores`
    in [0, 1] become logits.  Outputs over time, (batch, frames, size), are averaged.
    May be called on several threads.

    Raises:
        UsageError: There is no such file, it is no ONNX model, or has other inputs or
            outputs.
    """

    def __init__(self, path: Path, sample_rate: int) -> None:
        self.path = path
        self.sample_rate = sample_rate
        self.digest = ""
        """Hash of the file; others of the same name are others."""

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        if not path.is_file():
            raise UsageError(f"--teacher: {path}: there is no such file")
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - its classes have no base
            # Before the reason stand a code, its name and the path once more.
            reason = str(error).rpartition("failed:")[2].strip()
            raise UsageError(
                f"--teacher: {path}: is not an ONNX model that can be loaded ({reason})"
            ) from None
        self.digest = hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()
        self._session = session
        self._input = session.get_inputs()[0].name
        self._rank = len(session.get_inputs()[0].shape)
        names = {output.name for output in session.get_outputs()}
        self._outputs = sorted(names & {"embedding", "logits", "scores"})
        if not self._outputs or self._rank not in (1, 2):
            raise UsageError(
                f"--teacher: {path}: a teacher must take a waveform (batch, samples) "
                "and give 'embedding', 'logits' or 'scores'; it takes "
                f"{session.get_inputs()[0].shape} and gives {', '.join(sorted(names))}"
            )

    def waveform(self, samples: Array, sample_rate: int) -> Array:
        """Convert a window (channels, n) to the teacher's input: mono, at its rate."""
        mono: Array = samples.mean(axis=0)
        if sample_rate == self.sample_rate:
            return mono
        resampled = soxr.resample(mono, sample_rate, self.sample_rate, quality="HQ")
        return np.asarray(resampled, np.float32)

    def run(self, waveform: Array) -> TeacherOutputs:
        """Compute the outputs for one window (samples,) at its rate; a batch of one."""
        fed = waveform[None] if self._rank == 2 else waveform
        values = self._session.run(self._outputs, {self._input: fed})
        values_of = {
            name: _averaged(np.asarray(value, np.float32))
            for name, value in zip(self._outputs, values, strict=True)
        }
        logits = values_of.get("logits")
        if logits is None and "scores" in values_of:
            scores = np.clip(values_of["scores"], 1e-5, 1 - 1e-5)
            logits = np.log(scores / (1 - scores))
        return TeacherOutputs(values_of.get("embedding"), logits)


def _averaged(value: Array) -> Array:
    """Average over time to one row: (1, size)."""
    return np.asarray(value.reshape(-1, value.shape[-1]).mean(axis=0)[None])


@dataclass(frozen=True, slots=True)
class LinearReadout:
    """A linear classifier of each label on the outputs of a teacher."""

    weight: Array
    """(labels, size)."""
    bias: Array
    """(labels,)."""

    def logits(self, inputs: Array) -> Array:
        """(windows, labels) of (windows, size)."""
        return np.asarray(inputs @ self.weight.T + self.bias, np.float32)

    def scores(self, inputs: Array) -> Array:
        """(windows, labels) of (windows, size), in [0, 1]."""
        return np.asarray(1 / (1 + np.exp(-self.logits(inputs))), np.float32)


def named_weights(classes: Sequence[Sequence[int]], outputs: int, first: int) -> Array:
    """Initial weights of a regression, from the names of the teacher's classes.

    Args:
        classes: For each label the teacher's classes that mean it; may be empty.
        outputs: Size of the input of the regression.
        first: Place of the first logit of the teacher's classes in it.

    Returns:
        (labels, outputs), for standardised inputs.
    """
    weights = np.zeros((len(classes), outputs), np.float32)
    for label, chosen in enumerate(classes):
        for index in chosen:
            weights[label, first + index] = _NAMED / len(chosen)
    return weights


def fit_named_readout(inputs: Array, present: Array, start: Array) -> LinearReadout:
    """Average two regressions that begin with names, with low and with high ridge.

    A few recordings of a label define it less well than a class that the teacher
    learned from thousands, but they are of the place.  For a label without a named
    class it is the one with low ridge alone.
    """
    low = fit_readout(inputs, present, start)
    high = fit_readout(inputs, present, start, _HIGH_RIDGE)
    share = np.where(start.any(axis=1), np.float32(0.5), np.float32(0))
    return LinearReadout(
        low.weight + share[:, None] * (high.weight - low.weight),
        low.bias + share * (high.bias - low.bias),
    )


def fit_readout(
    inputs: Array,
    present: Array,
    start: Array | None = None,
    ridge: float = _RIDGE,
) -> LinearReadout:
    """Logistic regression of each label, on standardised inputs.

    Its scores are softer targets than 0 and 1: they depend on how audible a label is in
    a mixture.

    Args:
        inputs: (windows, size), teacher outputs for windows that may be trained on.
        present: (windows, labels), 0 or 1.
        start: (labels, size), weights for standardised inputs; the ridge penalty is on
            the distance from them; None: zeros.
        ridge: Weight of the penalty.
    """
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0) + np.float32(1e-6)
    standard = torch.from_numpy((inputs - mean) / deviation)
    targets = torch.from_numpy(present)
    origin = torch.zeros(present.shape[1], standard.shape[1])
    if start is not None:
        origin = torch.from_numpy(start)
    weight = origin.clone().requires_grad_(True)
    bias = torch.zeros(present.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = standard @ weight.T + bias
        error = functional.binary_cross_entropy_with_logits(logits, targets)
        total: torch.Tensor = error * present.shape[1]
        total = total + ridge * (weight - origin).square().sum()
        total.backward()
        return total

    optimiser.step(loss)
    scaled = weight.detach().numpy() / deviation
    return LinearReadout(scaled, bias.detach().numpy() - scaled @ mean)


CLASS_COUNT = 527
"""Number of the classes of AudioSet."""

# AudioSet's numbers, in the order of its class_labels_indices.csv.
CLASSES: Mapping[str, tuple[int, ...]] = {
    "air_conditioner": (413,),  # Air conditioning
    "car_horn": (308, 309),  # Vehicle horn, car horn, honking; Toot
    "children_playing": (3, 13, 71),  # Child speech; Children shouting, playing
    "dog_bark": (74, 75),  # Dog; Bark
    "drilling": (425,),  # Drill
    "engine_idling": (352,),  # Idling
    "gun_shot": (427,),  # Gunshot, gunfire
    "jackhammer": (420,),  # Jackhammer
    "siren": (396,),  # Siren
    "street_music": (137,),  # Music
}


def classes_of(
    labels: Sequence[str], outputs: int, chosen: Mapping[str, Sequence[int]] | None
) -> list[tuple[int, ...]]:
    """Find the teacher's classes that mean the same as each label.

    Raises:
        UsageError: The teacher has no such output.
    """
    if chosen is None:
        chosen = CLASSES if outputs == CLASS_COUNT else {}
    for label, indices in chosen.items():
        if any(index >= outputs for index in indices):
            raise UsageError(
                f"teacher.classes: {label}: the teacher has the outputs 0 to "
                f"{outputs - 1}; not {max(indices)}"
            )
    return [tuple(chosen.get(label, ())) for label in labels]


def teacher_figures(
    teacher: Teacher,
    material: Material,
    spec: ModelSpec,
    folds: Iterable[int],
    advance: Advance,
) -> dict[str, Any]:
    """Probe the teacher's embedding of whole clips, at their true length.

    Returns:
        `teacher_embedding_accuracy`; nothing if the teacher has no embedding.
    """
    clips, rows = material.manifest.clips, []
    for number, clip in enumerate(clips, start=1):
        samples = material.store.read(clip.path)
        waveform = teacher.waveform(samples, spec.sample_rate)
        missing = _SHORTEST_CLIP_SECONDS * teacher.sample_rate - len(waveform)
        outputs = teacher.run(np.pad(waveform, (0, max(0, missing))))
        if outputs.embedding is None:
            return {}
        rows.append(outputs.embedding[0])
        advance("running the teacher", number, len(clips))
    return {
        "teacher_embedding_accuracy": embedding_accuracy(np.stack(rows), clips, folds)
    }


def embedding_accuracy(
    embedding: Array, clips: Sequence[Clip], folds: Iterable[int]
) -> dict[str, float]:
    """Compute the accuracy of a logistic regression on embeddings (clips, size).

    It is trained on the same clips as a student of the fold.

    Returns:
        By the number of the fold, as text, and `together` over all their clips.
    """
    # They take a second to import, and only a cross-validation probes the teacher.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth = np.array([clip.label for clip in clips])
    fold_of = np.array([clip.fold for clip in clips])
    right = {}
    for fold in folds:
        known, new = fold_of != fold, fold_of == fold
        regression = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=_PROBE_INVERSE_RIDGE, max_iter=_PROBE_ITERATIONS),
        )
        regression.fit(embedding[known], truth[known])
        right[str(fold)] = regression.predict(embedding[new]) == truth[new]
    together = float(np.concatenate(list(right.values())).mean())
    return {
        **{fold: float(own.mean()) for fold, own in right.items()},
        "together": together,
    }
