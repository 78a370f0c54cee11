"""A taught label: its head on the embedding of a model, in a small file of its own.

The file has no code: a card, the weights of a linear head, and golden logits that are
recomputed at load.  The embedding of a window is the mean of its columns; the same head
on single columns says when in the window the label sounds.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from monitor.errors import ModelFileError
from monitor.model.card import Name
from monitor.model.card_file import read_card_file, tensor, write_card_file
from monitor.model.head_fit import Head, Levels
from monitor.model.thresholds import CardPart, Thresholds
from monitor.text import name_problem, path_text, printable

Array = NDArray[np.float32]

KEY = "taught label"
SUFFIX = ".safetensors"
FOLDER = "labels"
"""In the state folder."""

MAX_NAME_BYTES = 200
"""It names a file, whose name has 255 at most."""

FEWEST_CLIPS, MOST_CLIPS = 3, 50

ONSET_SCORE, OFFSET_SCORE = 0.5, 0.3
TYPICAL_LOGIT = 2.2
"""Least logit of a typical example, a score of 0.9; the onset threshold has 0."""

_MOST_UNIT = 2.0
"""Deviations to a logit of 1 at most: examples may lie far above the threshold, but the
offset threshold shall not lie among the sounds of quiet places."""

_GOLDEN_TOLERANCE = 1e-3

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class TaughtCard(CardPart):
    """The identity of a taught label, and what to expect of it."""

    format: Literal["sound-monitor taught label 1"] = "sound-monitor taught label 1"

    label: Name

    model: Name
    """Name of the model that it was taught on."""

    network: Digest
    """`Model.network_digest` of it: with another network its head means nothing."""

    clips: Annotated[int, Field(ge=FEWEST_CLIPS, le=MOST_CLIPS)]
    """Number of examples."""

    newest_event_seconds: Annotated[float, Field(ge=0, le=1e11)] | None = None
    """End of the newest example that was recorded here, in seconds since 1970; null:
    the examples were given as files."""

    preset: Literal["impulsive", "lasting"]
    """Detection rules of its kind of sound."""

    thresholds: Thresholds

    report: dict[str, Any] = Field(default_factory=dict)
    """What to expect, as `sound-monitor teach` printed it."""


@dataclass(frozen=True)
class TaughtLabel:
    """The content of the file of a taught label."""

    card: TaughtCard
    weights: Array = field(repr=False)
    """(features,)."""

    bias: float
    origin: str = "the taught label"
    """Name of the file in errors."""

    @property
    def digest(self) -> str:
        """Identifies its content."""
        content = self.card.model_dump_json().encode() + self.weights.tobytes()
        return hashlib.sha256(content + str(self.bias).encode()).hexdigest()

    def logits(self, columns: Array) -> Array:
        """Return the logits of columns, (batch, features, n) -> (batch, n)."""
        values: Array = np.einsum("bfn,f->bn", columns, self.weights)
        return values + np.float32(self.bias)

    def scores(self, columns: Array) -> Array:
        """Return the scores of windows, (batch,), in [0, 1], from their columns."""
        return sigmoid(self.logits(columns.mean(axis=-1, keepdims=True))[:, 0])

    def activity(self, columns: Array) -> Array:
        """Return the scores of single columns, (batch, n), in [0, 1]."""
        return sigmoid(self.logits(columns))


def sigmoid(logits: Array) -> Array:
    """Return the scores of logits; beyond 30 they are 0 or 1 to the last bit."""
    values = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return np.asarray(values, np.float32)


def scaled_head(head: Head, levels: Levels) -> tuple[Array, float]:
    """Weights and bias with which the threshold has logit 0.

    A typical example has `TYPICAL_LOGIT` or more, unless it hardly exceeds it.
    """
    unit = unit_of(levels)
    weights = (head.weights / unit).astype(np.float32)
    return weights, float(np.float32((head.bias - levels.threshold) / unit))


def unit_of(levels: Levels) -> float:
    """Deviations to a logit of 1."""
    unit = max(levels.typical - levels.threshold, 1.0) / TYPICAL_LOGIT
    return min(unit, _MOST_UNIT)


def label_problem(text: str) -> str | None:
    """Describe why a text cannot name a taught label, which names a file too."""
    if (problem := name_problem(text)) is not None:
        return problem
    if len(text.encode()) > MAX_NAME_BYTES:
        return f"it takes {len(text.encode())} bytes, more than {MAX_NAME_BYTES}"
    if text != text.rstrip():
        return "it ends with a space"
    for character in '/\\:*?"<>|':
        if character in text:
            return f"it holds {character!r}, which file names cannot have"
    return "it begins with a dot" if text.startswith(".") else None


def taught_path(state_dir: Path, label: str) -> Path:
    """File of a taught label in a state folder."""
    return state_dir / FOLDER / f"{label}{SUFFIX}"


def taught_files(state_dir: Path) -> list[Path]:
    """Files of the taught labels in a state folder, by name."""
    folder = state_dir / FOLDER
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.name[0] != ".")


def write_taught(path: Path, taught: TaughtLabel) -> None:
    """Write the file of a taught label; the same label gives the same bytes.

    Raises:
        ModelFileError: It cannot be written.
    """
    tensors = {
        "weights": taught.weights,
        "bias": np.array([taught.bias], np.float32),
        "golden": taught.logits(golden_columns(len(taught.weights))),
    }
    write_card_file(path, KEY, taught.card, tensors)


def read_taught(path: Path) -> TaughtLabel:
    """Read the file of a taught label.

    Raises:
        ModelFileError: It is missing, foreign, damaged or renamed, or gives other
            numbers here.
    """
    origin = printable(path_text(path))
    card, tensors = read_card_file(path, KEY, TaughtCard)
    if card.label != path.stem:
        raise ModelFileError(
            f"{origin}: holds the label {card.label!r}, so it must be named "
            f"{card.label}{SUFFIX}: rename it, or teach the label again"
        )
    weights = tensor(tensors, "weights", "float32", (None,), origin)
    (bias,) = tensor(tensors, "bias", "float32", (1,), origin).tolist()
    taught = TaughtLabel(card, weights, bias, origin)
    columns = golden_columns(len(weights))
    shape = len(columns), columns.shape[-1]
    golden = tensor(tensors, "golden", "float32", shape, origin)
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(taught.logits(columns) - golden) / np.maximum(1, np.abs(golden))
    if not float(off.max()) <= _GOLDEN_TOLERANCE:  # also when it is not a number
        raise ModelFileError(
            f"{origin}: gives other numbers here than where it was taught; teach it "
            "again"
        )
    return taught


def read_taught_card(path: Path) -> TaughtCard:
    """Read the card of a taught label, whatever its file is named.

    Raises:
        ModelFileError: The file is missing, foreign or damaged.
    """
    card, _ = read_card_file(path, KEY, TaughtCard)
    return card


def check_network(taught: TaughtLabel, name: str, digest: str, features: int) -> None:
    """Check that a label was taught on the network that listens.

    Args:
        taught: The label.
        name: Name of the model.
        digest: Its `Model.network_digest`.
        features: Features of its embedding.

    Raises:
        ModelFileError: It was taught on another one.
    """
    card = taught.card
    if card.network != digest:
        which = (
            f"a model {card.model!r} that was replaced since"
            if card.model == name
            else f"the model {card.model!r}, not for {name!r}"
        )
        raise ModelFileError(
            f"{taught.origin}: the label {card.label!r} was taught for {which}: teach "
            "it again from the same clips, with --force"
        )
    if len(taught.weights) != features:
        raise ModelFileError(
            f"{taught.origin}: has {len(taught.weights)} weights, and the embedding of "
            f"{name!r} has {features} features"
        )


def golden_columns(features: int) -> Array:
    """Return embeddings that are equal on any machine, (4, features, 3), in [0, 1)."""
    index = np.arange(4 * features * 3)
    return (index * 7919 % 1009 / 1009).astype(np.float32).reshape(4, features, 3)
