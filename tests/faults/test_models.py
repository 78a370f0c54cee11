"""A truncated or altered model file is rejected in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from monitor.errors import ModelFileError
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model as load_file
from monitor.model.trained import load_model, save_model
from tests.support.fault_monitor import Figure
from tests.support.models import seeded_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRIALS = 12


def use(path: Path) -> None:
    """The monitor runs the graph, training the weights."""
    Classifier(load_file(path), "cpu")
    load_model(path)


def test_a_truncated_or_altered_model_file_is_rejected(
    tmp_path: Path, figures: list[Figure]
) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, seeded_model())
    whole = path.read_bytes()
    generator = np.random.default_rng(5)
    said: list[str] = []
    for trial in range(TRIALS):
        broken = bytearray(whole)
        if trial % 3 == 0:
            del broken[int(generator.integers(0, len(whole))) :]
        else:
            # Two weights become infinite, or a word of the header nonsense.
            at = int(generator.integers(8, len(whole) - 8))
            broken[at : at + 8] = b"\x7f" * 8
        path.write_bytes(bytes(broken))
        try:
            use(path)
        except ModelFileError as error:
            said.append(str(error))
    assert all(one.startswith(str(path)) and "\n" not in one for one in said)
    # A weight that changes no score of the golden signal is no fault.
    assert len(said) >= TRIALS - 2
    figures.append(Figure(f"{len(said)} of {TRIALS} altered model files: rejected"))
