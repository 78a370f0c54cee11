"""A model file, and the log of this process restored after each command."""

import logging
from collections.abc import Iterator
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


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Undo what a command that ran in this process did to the log."""
    loggers = [logging.getLogger(name) for name in (None, "monitor", "training")]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)
