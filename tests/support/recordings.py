"""Small data sets of made-up sounds, written as files."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from monitor.spec import ModelSpec

RATE = 8000
SMALL_SPEC = ModelSpec(
    sample_rate=RATE,
    n_fft=256,
    hop_length=128,
    n_mels=16,
    f_min=50,
    f_max=3500,
    window_frames=64,
)
LABELS = ("buzz", "hiss", "tick")


def sound(label: str, seed: int, seconds: float = 0.8) -> NDArray[np.float32]:
    """A tone, a noise or clicks, a little different for every seed."""
    r = np.random.default_rng([LABELS.index(label), seed])
    count = round(seconds * RATE)
    time = np.arange(count) / RATE
    if label == "buzz":
        wave = np.sign(np.sin(2 * np.pi * r.uniform(180, 260) * time))
    elif label == "hiss":
        wave = np.diff(r.standard_normal(count + 1))
    else:
        wave = np.where(
            np.arange(count) % round(RATE / r.uniform(8, 12)) < 12, 1.0, 0.0
        )
    noise = 0.01 * r.standard_normal(count)
    return (0.2 * wave + noise).astype(np.float32)


def write_folders(folder: Path, groups: int = 5, slices: int = 2) -> Path:
    """A folder for each label; `groups` recordings of `slices` files each."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for group in range(groups):
            for part in range(slices):
                name = f"{label}{group}_{part}.wav"
                wave = sound(label, 100 * group + part)
                soundfile.write(folder / label / name, wave, RATE)
    return folder


def write_negatives(folder: Path, count: int = 6) -> Path:
    """Low rumbles of no label, named as in ESC-50: folds 1 to 3."""
    folder.mkdir(parents=True)
    for number in range(count):
        r = np.random.default_rng([9, number])
        wave = 0.05 * np.cumsum(r.standard_normal(2 * RATE)).astype(np.float32)
        wave = 0.3 * wave / np.abs(wave).max()
        name = f"{number % 3 + 1}-{1000 + number}-A-7.wav"
        soundfile.write(folder / name, wave, RATE)
    return folder
