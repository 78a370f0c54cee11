"""Measure what the article leaves out: `python docs/article_measurements.py DATA`.

DATA is laid out as UrbanSound8K.  Trains the article's network twice on all folds but
the first, with the normalisation of this program and with the article's, and tests it
on fold 1 in several ways.  Takes about ten minutes on one core.  A network that was
trained is kept as NAME.safetensors in the working folder, and not trained again.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from training import (
    SoundDataset,
    build_network,
    learn_statistics,
    make_loader,
    read_manifest,
)
from training.evaluate.metrics import calibration_error

EPOCHS = 30


class BatchNormalised(nn.Module):
    """The article's way: subtract the mean of the batch, divide by its deviation."""

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


def calibrated(logits: np.ndarray, truth: np.ndarray, groups: list[str]) -> np.ndarray:
    """Divide by the temperature that fits the other half of the recordings best."""
    names = sorted(set(groups))
    half = np.array([names.index(group) % 2 for group in groups])
    scaled = logits.copy()
    for part in (0, 1):
        own, other = half == part, half != part
        losses = {
            temperature: -log_softmax(logits[other] / temperature, axis=1)[
                np.arange(other.sum()), truth[other]
            ].mean()
            for temperature in np.geomspace(0.3, 5, 57)
        }
        scaled[own] /= min(losses, key=losses.get)
    return scaled


def main(folder: Path) -> None:
    manifest = read_manifest(folder)
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
    scaled = calibrated(logits, truth, [clip.group for clip in test.clips])
    for what, values in (("", logits), (", after temperature scaling", scaled)):
        scores = softmax(values, axis=1)
        error = calibration_error(scores.max(axis=1), logits.argmax(axis=1) == truth)
        print(f"{'  calibration error' + what:58} {error:.3f}", flush=True)
    fixed.train()
    for what, order, size in batches:
        show(f"  train mode, {what}", logits_of(fixed, test, order, size))
    article = train("article", known, BatchNormalised())
    for what, order, size in batches:
        show(f"normalised by batch, {what}", logits_of(article, test, order, size))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
