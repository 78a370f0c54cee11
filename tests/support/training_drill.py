"""A training killed again and again: `python -m tests.support.training_drill F`.

Writes into the folder F the weights of a training that nobody disturbed, and those of
one that was killed at random moments and went on each time.  Prints how often it was
killed with an epoch behind it.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.bands import Bands, fresh, settings_of
from training.checkpoint import RunFolder
from training.progress import EpochPicture, EpochReport
from training.train import fit

SETTINGS = settings_of(optimiser={"epochs": 12})


class Silent:
    """Watches, and says nothing."""

    def go_on(self, epoch: int) -> None:
        pass

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        pass

    def epoch(self, report: EpochReport, picture: EpochPicture) -> None:
        pass


def train(folder: Path, name: str) -> None:
    """Train, or go on; write the weights."""
    place, stop = RunFolder(folder / name), threading.Event()
    network = fit(fresh(), Bands(), SETTINGS, place, Silent(), stop)
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(weights, folder / f"{name}.safetensors")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    begin = time.monotonic()
    train(folder, "whole")
    # Long enough for an epoch or two, or it would never come to its end.
    longest = (time.monotonic() - begin) / 5
    generator = random.Random()
    killed = 0
    while True:
        child = os.fork()
        if child == 0:
            train(folder, "torn")
            os._exit(0)
        time.sleep(generator.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            break
        killed += (folder / "torn" / "metrics.jsonl").is_file()
    sys.stdout.write(f"{killed}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
