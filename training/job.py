"""The options of one training, beside its settings."""

from dataclasses import dataclass
from pathlib import Path

from training.mixtures.material import DataPaths


@dataclass(frozen=True, slots=True)
class Job:
    """The options of `train`, beside the settings."""

    paths: DataPaths
    out: Path
    run: Path
    resume: bool = False
    cross_validate: bool = False
    teacher: Path | None = None
    """ONNX file; None: there is no teacher."""
    target_cache: Path | None = None
    """Folder of the target cache; None: in the run folder."""
    workers: int = 1
    """Threads that make training windows."""
    device: str = "cpu"
    tensorboard: bool = False
    """Write events for TensorBoard."""
