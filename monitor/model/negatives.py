"""Negatives: embeddings of many sounds and places, in a file beside their model.

They come in the box with the model, so that a label can be taught from a few examples;
no sound can be recovered from them.  Eight bits a feature are enough for that.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from monitor.errors import ModelFileError
from monitor.model.card import INCLUDED, Name
from monitor.model.card_file import read_card_file, tensor, write_card_file
from monitor.model.taught import Digest
from monitor.model.thresholds import CardPart
from monitor.text import path_text, printable

KEY = "negatives"

_FEWEST_SOUNDS = 2
_STEPS = 254
"""From the lowest to the highest value of a feature."""


class NegativesCard(CardPart):
    """The origin of the embeddings."""

    format: Literal["sound-monitor negatives 1"] = "sound-monitor negatives 1"
    model: Name
    network: Digest
    """`Model.network_digest` of it."""

    sounds: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)]
    """Names of the kinds of sounds; they have the first indices."""

    places: Annotated[tuple[Name, ...], Field(min_length=2, max_length=1000)]
    """Names of the places; they have the indices after these."""

    hop_seconds: Annotated[float, Field(gt=0, le=600)]
    """Time from one window of a place to the next."""

    licence: Annotated[str, Field(max_length=10_000)] = ""
    """Terms of the recordings."""


@dataclass(frozen=True)
class Negatives:
    """Embeddings of windows of sounds and of places."""

    card: NegativesCard
    embeddings: NDArray[np.float32]
    """(n, features); those of a place follow each other in time."""

    kinds: NDArray[np.int64]
    """(n,), index of the sound or place of each."""

    @property
    def is_place(self) -> NDArray[np.bool_]:
        """True for the windows of places, (n,)."""
        return self.kinds >= len(self.card.sounds)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Time of each window since the first of its kind, (n,)."""
        begins = np.flatnonzero(np.diff(self.kinds, prepend=-1))
        index = np.arange(len(self.kinds))
        first = begins[np.searchsorted(begins, index, side="right") - 1]
        return np.asarray((index - first) * self.card.hop_seconds, np.float64)

    @property
    def hours(self) -> float:
        """Time in places."""
        return int(self.is_place.sum()) * self.card.hop_seconds / 3600

    def where(self, chosen: NDArray[np.bool_]) -> "Negatives":
        """Return some of the windows: of a kind all or none."""
        return Negatives(self.card, self.embeddings[chosen], self.kinds[chosen])

    def name_of(self, kind: int) -> str:
        """Name of a sound or place."""
        return (*self.card.sounds, *self.card.places)[kind]


def negatives_path(model: str) -> Path:
    """File of the negatives of a model: a file, or the name of an included one."""
    if model in INCLUDED:
        return Path(__file__).parent / "weights" / f"{model}-negatives.safetensors"
    path = Path(model)
    return path.with_name(f"{path.stem}-negatives.safetensors")


def write_negatives(path: Path, negatives: Negatives) -> None:
    """Write embeddings, each feature in 255 steps from its lowest to its highest value.

    Raises:
        ModelFileError: They cannot be written, or are too many.
    """
    values = negatives.embeddings
    lowest, highest = values.min(axis=0), values.max(axis=0)
    scale = np.maximum((highest - lowest) / _STEPS, 1e-12).astype(np.float32)
    steps = np.clip(np.rint((values - lowest) / scale), 0, _STEPS)
    tensors = {
        "steps": steps.astype(np.uint8),
        "scale": scale,
        "lowest": lowest.astype(np.float32),
        "kinds": negatives.kinds.astype(np.uint16),
    }
    write_card_file(path, KEY, negatives.card, tensors)


def read_negatives(path: Path) -> Negatives:
    """Read the negatives of a model.

    Raises:
        ModelFileError: The file is missing, foreign or damaged.
    """
    origin = printable(path_text(path))
    card, tensors = read_card_file(path, KEY, NegativesCard)
    steps = tensor(tensors, "steps", "uint8", (None, None), origin)
    count, features = steps.shape
    scale = tensor(tensors, "scale", "float32", (features,), origin)
    lowest = tensor(tensors, "lowest", "float32", (features,), origin)
    kinds = tensor(tensors, "kinds", "uint16", (count,), origin).astype(np.int64)
    known = len(card.sounds) + len(card.places)
    if count == 0 or (np.diff(kinds) < 0).any() or kinds[-1] >= known:
        raise ModelFileError(f"{origin}: kinds are not in order, or have no name")
    with np.errstate(over="ignore"):
        embeddings = steps * scale + lowest
    if not np.isfinite(embeddings).all():
        raise ModelFileError(f"{origin}: holds numbers that are not finite")
    negatives = Negatives(card, embeddings, kinds)
    counts = np.bincount(kinds, minlength=known)
    if counts.min() < 1 or (~negatives.is_place).sum() < _FEWEST_SOUNDS:
        raise ModelFileError(f"{origin}: has too few windows of some sounds or places")
    return negatives
