"""Places to train with: recordings without a label, each with a colour of its own."""

from pathlib import Path

import numpy as np
import soundfile

from tests.support.recordings import RATE


def write_place(path: Path, number: int, seconds: float = 2.0) -> None:
    """Noise with a colour of its own."""
    r = np.random.default_rng(number)
    noise = r.standard_normal(round(seconds * RATE))
    kernel = np.exp(-np.arange(40) * 0.05 * (number + 1)) * r.choice([-1, 1], 40)
    wave = np.convolve(noise, kernel, "same")
    soundfile.write(path, 0.2 * wave / np.abs(wave).max(), RATE)


def write_places(folder: Path, count: int = 8) -> Path:
    """A folder of `count` places."""
    folder.mkdir(parents=True)
    for number in range(count):
        write_place(folder / f"place{number}.wav", number)
    return folder
