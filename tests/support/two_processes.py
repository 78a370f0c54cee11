"""One of several processes in the tests of training with torchrun.

`torchrun --nproc-per-node N -m tests.support.two_processes FOLDER STEP`: train on bands
together, stop after that step, continue; write the weights of each process.  With a
STEP of 0, the last process is stopped while it waits for the first one's validation.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.band_training import BandBatches, settings_of, train_bands
from training.checkpoint import InterruptedTrainingError, RunFolder
from training.distributed import Distributed, process_group
from training.mixtures.dataset import Batch, ShardedSource
from training.progress import ValidationResult

PLAIN = {
    "optimiser": {"epochs": 2},
    # Each process draws the augmentation of its own windows, which are not those of
    # one process alone.
    "features": {"roll": False, "gain_db": 0.0, "mix_share": 0.0, "mask_share": 0.0},
}

VALIDATION_SECONDS = 1.0


class CountedBands:
    """This process's shares of the bands, and their numbers of windows."""

    steps_per_epoch = BandBatches.steps_per_epoch

    def __init__(
        self, distributed: Distributed, stop: threading.Event, after: int
    ) -> None:
        self._sharded = ShardedSource(BandBatches(stop, after), distributed)
        self.windows: list[int] = []

    def batches(self, first_step: int, steps: int) -> Iterator[Batch]:
        for batch in self._sharded.batches(first_step, steps):
            self.windows.append(len(batch.log_mel))
            yield batch


def main(folder: Path, after: int) -> None:
    """Train until the last process is stopped, then continue to the end."""
    torch.set_num_threads(1)
    stop = threading.Event()
    with process_group("cpu", stop) as (distributed, _):
        is_last = distributed.rank == distributed.count - 1
        source = CountedBands(distributed, stop, (after or -1) if is_last else -1)
        validating = folder / "validating"
        if is_last and not after:
            threading.Thread(target=_set_after, args=(stop, validating)).start()

        def validate(_: object) -> ValidationResult:
            if not validating.exists():
                validating.touch()
                time.sleep(VALIDATION_SECONDS)
            return ValidationResult({"accuracy": 0.5}, [])

        run = RunFolder(folder / "run", distributed.is_main)
        settings = settings_of(**PLAIN)
        stopped = ""
        try:
            train_bands(
                run,
                settings,
                source,
                validate=None if after else validate,
                distributed=distributed,
                stop=stop,
            )
        except InterruptedTrainingError as error:
            stopped = str(error)
        stop.clear()
        network = train_bands(run, settings, source, distributed=distributed)
        facts = {"windows": source.windows, "stopped": stopped}
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    name = f"rank{distributed.rank}"
    save_file(weights, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(facts))


def _set_after(stop: threading.Event, validating: Path) -> None:
    """Set `stop` in the middle of the validation."""
    while not validating.exists():
        time.sleep(0.01)
    time.sleep(VALIDATION_SECONDS / 2)
    stop.set()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
