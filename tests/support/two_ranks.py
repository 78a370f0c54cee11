"""What each of several processes does in the tests of training with torchrun.

`torchrun --nproc-per-node N -m tests.support.two_ranks FOLDER STOP_AFTER`: train on bands
together; write what each process ends with, and the folder of the run.
"""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.bands import Bands, fresh, settings_of
from training.checkpoint import InterruptedTrainingError, RunFolder
from training.dataset import Batch, SharedSource
from training.loop import fit
from training.ranks import Ranks, joined
from training.watcher import EpochPicture, EpochReport

PLAIN = {
    "optimiser": {"epochs": 2},
    # Draws for the features of a batch are those of each process, and so not the same
    # as for one process alone.
    "features": {"roll": False, "gain_db": 0.0, "mix_share": 0.0, "mask_share": 0.0},
}


class Losses:
    """Notes the loss of every step, and may stop one process after some."""

    def __init__(self, stop: threading.Event, after: int = -1) -> None:
        self.losses: list[float] = []
        self.epochs: list[int] = []
        self._stop = stop
        self._after = after

    def go_on(self, epoch: int) -> None:
        pass

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        self.losses.append(loss)
        if step == self._after:
            self._stop.set()

    def epoch(self, report: EpochReport, picture: EpochPicture) -> None:
        self.epochs.append(report.epoch)


class Counted:
    """Bands, and how many windows of them were asked for."""

    steps_per_epoch = Bands.steps_per_epoch

    def __init__(self, ranks: Ranks) -> None:
        self._shared = SharedSource(Bands(), ranks)
        self.windows: list[int] = []

    def batches(self, first_step: int, steps: int) -> Iterator[Batch]:
        for batch in self._shared.batches(first_step, steps):
            self.windows.append(len(batch.log_mel))
            yield batch


def train_once(folder: Path, ranks: Ranks, after: int) -> None:
    """Train, or go on until one of the processes is told to stop."""
    stop = threading.Event()
    watcher, source = Losses(stop, after), Counted(ranks)
    # The first network of another process is another one: the first's shall count.
    student = fresh(seed=ranks.number)
    place = RunFolder(folder / "run", ranks.is_first)
    network = fit(
        student, source, settings_of(**PLAIN), place, watcher, stop, None, "cpu", ranks
    )
    name = f"rank{ranks.number}"
    save_file(dict(network.state_dict()), folder / f"{name}.safetensors")
    facts = {"losses": watcher.losses, "windows": source.windows}
    (folder / f"{name}.json").write_text(json.dumps(facts))


def main(folder: Path, after: int) -> None:
    torch.set_num_threads(1)
    with joined("cpu", threading.Event()) as (ranks, _):
        if after > 0:
            # Only the last process is told; all must stop at the same step.
            try:
                train_once(folder, ranks, after if ranks.number == 1 else -1)
            except InterruptedTrainingError as error:
                path = folder / f"stopped{ranks.number}.txt"
                path.write_text(str(error))
        train_once(folder, ranks, -1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
