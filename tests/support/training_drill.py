"""A training killed again and again: `python -m tests.support.training_drill F`.

Writes into the folder F the weights of an undisturbed training, and those of one that
was killed at random moments and resumed each time.  Prints the number of kills after
which an epoch was there.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.band_training import settings_of, train_bands

SETTINGS = settings_of(optimiser={"epochs": 12})


def train(folder: Path, name: str) -> None:
    """Train, or continue; write the weights."""
    network = train_bands(folder / name, SETTINGS)
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
