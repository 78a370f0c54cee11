"""Training and evaluation of models; the names below are for notebooks.

Each name is imported when it is first used, so that `import training` stays cheap.
docs/article.md walks through them, in the order in which a notebook needs them.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "read_manifest": "training.data.discovery",
    "assign_folds": "training.data.splits",
    "load_audio": "training.data.decoded",
    "to_channels": "training.data.decoded",
    "resample": "training.data.decoded",
    "fixed_length": "training.notebook",
    "log_mel_of": "training.notebook",
    "time_shift": "training.notebook",
    "mask": "training.notebook",
    "SoundDataset": "training.notebook",
    "make_loader": "training.notebook",
    "training_settings": "training.recipes",
    "learn_statistics": "training.mixtures.dataset",
    "LogMel": "monitor.model.frontend",
    "ModelSpec": "monitor.spec",
    "build_network": "monitor.model.networks",
    "load_model": "monitor.model.trained",
}

__all__ = sorted(_MODULES)  # noqa: PLE0605 - imported by __getattr__


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
