"""A head with hidden units learns what a teacher's logits add to its embedding."""

import json
from pathlib import Path

import numpy as np
import torch

from monitor.model.networks import build_network
from monitor.model.networks.mobile import FEATURES, SkipHead
from tests.support.recordings import SMALL_SPEC
from training.distill.distillation import fit_head, start_heads
from training.distill.target_cache import CachedBatches, TargetCache

ROWS, CLASSES, LABELS = 1500, 12, 3


def write_bank(folder: Path) -> TargetCache:
    """Logits are a bent function of the embedding, and decide the labels."""
    r = np.random.default_rng(0)
    embedding = r.normal(1, 2, (ROWS, FEATURES)).astype(np.float32)
    bent = np.maximum(0, (embedding - 1) @ r.normal(0, 0.05, (FEATURES, CLASSES)))
    score = (bent - bent.mean(axis=0)) @ r.normal(0, 1, (CLASSES, LABELS))
    activity = np.repeat((score > 0)[:, :, None], 8, axis=2).astype(np.float16)
    arrays = {
        "embedding": embedding,
        "logits": bent.astype(np.float16),
        "activity": activity,
        "log_mel": np.zeros((ROWS, 1, 16, 64), np.float16),
        "origin": np.ones((ROWS, 2), np.int16),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    facts = {"clips": 0, "embedding": True, "logits": True}
    (folder / "targets.json").write_text(json.dumps(facts))
    return TargetCache(folder)


def test_a_fitted_head_knows_more_than_the_linear_one_it_began_with(
    tmp_path: Path,
) -> None:
    bank = write_bank(tmp_path)
    source = CachedBatches(bank, np.arange(ROWS), 1, 32, 0)
    network = build_network("mobile", SMALL_SPEC, LABELS).eval()
    assert source.head_start is not None
    start_heads(network, source.head_start)
    embedding, wanted = source.head_targets()

    def error() -> float:
        with torch.no_grad():
            return float((network.head(embedding) - wanted).square().mean())

    with torch.no_grad():
        start = network.head(embedding).numpy()
    assert np.allclose(start, source.head_start.logits(embedding.numpy()), atol=1e-3)
    before = error()
    fit_head(network, source, seed=0)
    assert error() < 0.8 * before


def test_what_a_head_learned_in_training_counts_for_a_half(tmp_path: Path) -> None:
    """A head that is surer of everything stays surer, by half as much."""
    source = CachedBatches(write_bank(tmp_path), np.arange(ROWS), 1, 32, 0)
    embedding, read = source.head_targets()
    means = []
    for surer in (0.0, 4.0):
        network = build_network("mobile", SMALL_SPEC, LABELS).eval()
        assert source.head_start is not None
        start_heads(network, source.head_start)
        (head,) = (m for m in network.head.modules() if isinstance(m, SkipHead))
        with torch.no_grad():
            head.linear.bias.add_(surer)
        fit_head(network, source, seed=0)
        with torch.no_grad():
            means.append(float((network.head(embedding) - read).mean()))
    assert abs(means[1] - means[0] - 2.0) < 0.2


def test_a_head_begins_as_its_linear_part() -> None:
    head = SkipHead(FEATURES, LABELS)
    features = torch.randn(5, FEATURES)
    assert torch.equal(head(features), head.linear(features))


def test_networks_with_other_heads_stay_as_they_are(tmp_path: Path) -> None:
    source = CachedBatches(write_bank(tmp_path), np.arange(ROWS), 1, 32, 0)
    network = build_network("article", SMALL_SPEC, LABELS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fit_head(network, source, seed=0)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
