"""Measure what the article leaves out.

    python docs/article_measurements.py DATA
    python docs/article_measurements.py DATA fold1.safetensors fold2.safetensors ...

DATA is laid out as UrbanSound8K.  The first form trains the article's network twice on
all folds but the first, with the normalisation of this program and with the article's,
and tests it on fold 1 in several ways; it takes about ten minutes on one core.  Trained
networks are kept in the working folder and not trained again.  The second form tests
model files, of which the first was not trained on fold 1, and so on.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.special import expit
from torch import Tensor, nn

from training import (
    SoundDataset,
    build_network,
    learn_statistics,
    load_model,
    make_loader,
    read_manifest,
)
from training.data.manifest import Manifest
from training.evaluate.metrics import calibration_error
from training.evaluate.thresholds import fit_temperature

EPOCHS = 30


class BatchNormalised(nn.Module):
    """Normalises as the article does, by mean and deviation of the batch."""

    def forward(self, log_mel: Tensor) -> Tensor:
        return (log_mel - log_mel.mean()) / log_mel.std()


def train(name: str, data: SoundDataset, normalise: nn.Module | None) -> nn.Module:
    """Train the article's network, or load it."""
    torch.manual_seed(0)
    network = build_network("article", data.settings.spec, len(data.labels))
    loader = make_loader(data, generator=torch.Generator().manual_seed(0))
    if normalise is not None:
        network.normalise = normalise
    else:
        learn_statistics(network, (x.numpy() for x, _ in loader))
    file = Path(f"{name}.safetensors")
    if file.is_file():
        network.load_state_dict(load_file(file))
        return network.eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 3e-3, total_steps=EPOCHS * len(loader)
    )
    for epoch in range(EPOCHS):
        data.epoch = epoch
        for x, y in loader:
            loss = nn.functional.cross_entropy(network(x).logits, y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"{name}: epoch {epoch + 1}, loss {loss:.3f}", file=sys.stderr)
    save_file(network.state_dict(), file)
    return network.eval()


@torch.inference_mode()
def logits_of(
    network: nn.Module, data: SoundDataset, order: np.ndarray, size: int
) -> np.ndarray:
    """Logits (clips, labels) in batches of `size` clips, drawn in this order."""
    logits = torch.zeros(len(data), len(data.labels))
    for begin in range(0, len(order), size):
        rows = order[begin : begin + size].tolist()
        logits[rows] = network(torch.stack([data[row][0] for row in rows])).logits
    return logits.numpy()


def measure_calibration(manifest: Manifest, files: list[str]) -> None:
    """Test each model file on its fold, with a temperature from the others."""
    logits, truths = {}, {}
    for fold, file in enumerate(files, start=1):
        data = SoundDataset(manifest, [fold])
        network = load_model(Path(file)).network.eval()
        logits[fold] = logits_of(network, data, np.arange(len(data)), 16)
        truths[fold] = np.array([clip.label for clip in data.clips])
    for fold, own in logits.items():
        others = [other for other in logits if other != fold]
        present = np.eye(own.shape[1], dtype=bool)[
            np.concatenate([truths[other] for other in others])
        ]
        fitted = fit_temperature(np.concatenate([logits[o] for o in others]), present)
        for what, temperature in (("", 1.0), (f", temperature {fitted:.2f}", fitted)):
            scores = expit(own / temperature)
            right = own.argmax(axis=1) == truths[fold]
            error = calibration_error(scores.max(axis=1), right)
            print(f"{f'fold {fold}: calibration error{what}':58} {error:.3f}")


def measure_normalisation(manifest: Manifest) -> None:
    others = [fold for fold in manifest.folds if fold != 1]
    known = SoundDataset(manifest, others, train=True)
    test = SoundDataset(manifest, [1])
    truth = np.array([clip.label for clip in test.clips])
    shuffled = np.random.default_rng(0).permutation(len(test))
    batches = (
        ("shuffled batches of 16", shuffled, 16),
        ("batches of 16 of one label", np.argsort(truth, kind="stable"), 16),
        ("one clip at a time", shuffled, 1),
    )

    def show(what: str, logits: np.ndarray) -> None:
        accuracy = (logits.argmax(axis=1) == truth).mean()
        print(f"{what:58} {accuracy:.3f}", flush=True)

    fixed = train("fixed", known, None)
    logits = logits_of(fixed, test, shuffled, 16)
    show("fixed normalisation, eval mode", logits)
    fixed.train()
    for what, order, size in batches:
        show(f"  train mode, {what}", logits_of(fixed, test, order, size))
    article = train("article", known, BatchNormalised())
    for what, order, size in batches:
        show(f"normalised by batch, {what}", logits_of(article, test, order, size))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) < 2:
        sys.exit("usage: python docs/article_measurements.py DATA")
    recordings = read_manifest(sys.argv[1])
    if len(sys.argv) > 2:
        measure_calibration(recordings, sys.argv[2:])
    else:
        measure_normalisation(recordings)
