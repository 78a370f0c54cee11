"""A model file for the commands."""

from pathlib import Path

import pytest

from monitor.model.model_file import save_model
from tests.support.models import seeded_model


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with the labels siren, drilling and gun_shot."""
    path = tmp_path_factory.mktemp("models") / "seeded.safetensors"
    save_model(path, seeded_model())
    return path
