"""What `train` was asked to do, beside the settings of the training."""

from dataclasses import dataclass
from pathlib import Path

from monitor.errors import UsageError
from training.mixing.material import Places

FINAL = 0
"""In place of a fold: the network that is trained on all of them."""


@dataclass(frozen=True, slots=True)
class Job:
    """What `train` was asked to do, beside the settings."""

    places: Places
    out: Path
    run: Path
    resume: bool = False
    cross_validate: bool = False
    teacher: Path | None = None
    """ONNX file; None: there is no teacher."""
    bank: Path | None = None
    """Folder of the bank; None: in the run folder."""
    workers: int = 1
    device: str = "cpu"
    only: int | None = None
    """Train only the network of this fold, or the one of all folds: `FINAL`."""


def check_job(job: Job) -> None:
    """Refuse what cannot be done, before anything is begun.

    Raises:
        UsageError: The model file would lie in a folder that does not exist, or
            options contradict each other.
    """
    if not job.out.parent.is_dir():
        raise UsageError(f"--out: the folder {job.out.parent} does not exist")
    if job.only is not None and not job.cross_validate:
        raise UsageError("--only names a network of --cross-validate; give that too")
