"""Training and evaluation of models; the names below are for notebooks.

Each name is imported when it is first used, so that `import training` stays cheap.
docs/article.md walks through them.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "read_manifest": "training.data.manifest",
    "assign_folds": "training.data.splits",
    "split": "training.data.splits",
    "training_settings": "training.config",
    "ModelSpec": "monitor.spec",
    "LogMel": "monitor.model.frontend",
    "build_network": "monitor.model.networks.build",
    "load_model": "monitor.model.model_file",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
