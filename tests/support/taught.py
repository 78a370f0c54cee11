"""A stand-in for a model with an embedding, and negatives for it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monitor.model.engines import Classification, WindowPlace
from monitor.model.frontend import Array
from monitor.model.negatives import Negatives, NegativesCard
from monitor.model.taught import TaughtCard, TaughtLabel, taught_path, write_taught
from monitor.model.thresholds import Thresholds
from monitor.runtime.examples import Embedder
from monitor.spec import ModelSpec
from tests.support.doorbell import other_sound

SPEC = ModelSpec(
    sample_rate=16_000,
    n_fft=512,
    hop_length=256,
    n_mels=32,
    f_min=50,
    f_max=7500,
    window_frames=128,
)
KINDS = ("clatter", "hiss", "hum")
NETWORK = "a" * 64


class SpectrumClassifier:
    """A model whose embedding is the mean spectrum; one label, which is loudness."""

    spec = SPEC
    labels = ("loud",)
    name = "spectrum"

    def classify(
        self, windows: Array, places: Sequence[WindowPlace] = ()
    ) -> Classification:
        mono = windows.mean(axis=1)  # (batch, n_mels, frames)
        batch, bands, frames = mono.shape
        columns = mono.reshape(batch, bands, frames // 8, 8).mean(axis=-1)
        loud = np.clip((mono.max(axis=(1, 2)) + 40) / 80, 0, 1)
        scores = loud[:, None].astype(np.float32)  # (batch, 1)
        return Classification(scores, scores[..., None], columns)


def spectrum_embedder() -> Embedder:
    return Embedder(SpectrumClassifier())


def negatives_for(
    embedder: Embedder, each: int = 30, network: str = NETWORK
) -> Negatives:
    """Sounds of three kinds, and places where these go on."""
    spec = embedder.spec
    seconds = spec.seconds(spec.window_samples)
    embeddings, kinds = [], []
    for index in range(2 * len(KINDS)):
        for seed in range(each):
            kind = KINDS[index % len(KINDS)]
            samples = other_sound(
                kind, spec.sample_rate, 100 * index + seed, seconds + 1
            )
            embeddings.append(embedder.embed(samples[: spec.window_samples])[0])
            kinds.append(index)
    card = NegativesCard(
        model=embedder.name,
        network=network,
        sounds=KINDS,
        places=tuple(f"place with {kind}" for kind in KINDS),
        hop_seconds=120.0,
        licence="none",
    )
    return Negatives(card, np.array(embeddings), np.array(kinds))


def write_head(
    state_dir: Path, label: str, features: int, model: str, network: str = NETWORK
) -> None:
    """Write a taught label with so many weights."""
    card = TaughtCard(
        label=label,
        model=model,
        network=network,
        clips=5,
        preset="impulsive",
        thresholds=Thresholds(onset=0.5, offset=0.3),
    )
    path = taught_path(state_dir, label)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_taught(path, TaughtLabel(card, np.full(features, 0.01, np.float32), 0.25))
