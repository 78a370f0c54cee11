"""What each of several processes does in the tests of training with torchrun.

`torchrun --nproc-per-node N -m tests.support.two_ranks FOLDER STEPS`: train on bands
together, be stopped after so many steps, go on; write what each process ends with.
"""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from monitor.model.networks.build import Network
from tests.support.bands import Bands, fresh, settings_of
from training.checkpoint import InterruptedTrainingError, RunFolder
from training.distributed import Ranks, joined
from training.mixtures.dataset import Batch, BatchSource, SharedSource
from training.progress import EpochPicture, EpochReport
from training.train import fit

PLAIN = {
    "optimiser": {"epochs": 2},
    # Draws for the features of a batch are those of each process, and so not the same
    # as for one process alone.
    "features": {"roll": False, "gain_db": 0.0, "mix_share": 0.0, "mask_share": 0.0},
}


class Losses:
    """Notes the loss of every step, and may stop a process after some."""

    def __init__(self, after: int) -> None:
        self.losses: list[float] = []
        self.stop = threading.Event()
        self._after = after

    def go_on(self, epoch: int) -> None:
        pass

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        self.losses.append(loss)
        if step == self._after:
            self.stop.set()

    def epoch(self, report: EpochReport, picture: EpochPicture) -> None:
        pass


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


def train(folder: Path, ranks: Ranks, watcher: Losses, source: BatchSource) -> Network:
    """Train, or go on with it."""
    return fit(
        # Another process has another network at first: that of the first shall count.
        fresh(seed=ranks.number),
        source,
        settings_of(**PLAIN),
        RunFolder(folder / "run", ranks.is_first),
        watcher,
        watcher.stop,
        ranks=ranks,
    )


def main(folder: Path, after: int) -> None:
    """Train until the last process is told to stop, then go on to the end."""
    torch.set_num_threads(1)
    with joined("cpu", threading.Event()) as (ranks, _):
        source, name = Counted(ranks), f"rank{ranks.number}"
        watcher = Losses(after if ranks.number == ranks.count - 1 else -1)
        stopped = ""
        try:
            train(folder, ranks, watcher, source)
        except InterruptedTrainingError as error:
            stopped = str(error)
        watcher.stop.clear()
        network = train(folder, ranks, watcher, source)
        facts = {
            "losses": watcher.losses,
            "windows": source.windows,
            "stopped": stopped,
        }
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(weights, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
