"""A siren and a drill to be played: real recordings where a data set lies beside.

SOUND_MONITOR_RECORDINGS names the folder of UrbanSound8K.
"""

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from monitor.audio.sources.demo import SCENE, render_scene

RATE = 44_100
SECONDS = 8.0
PLAYED = ("siren", "drilling")


def sounds() -> dict[str, NDArray[np.float32]]:
    """A siren and a drill, recorded or those of the demo.

    Each is float32, shape (1, 8 s at 44.1 kHz).
    """
    folder = os.environ.get("SOUND_MONITOR_RECORDINGS")
    if folder:
        return {label: _recording(Path(folder), label) for label in PLAYED}
    scene = render_scene(RATE)
    starts = {sound.label: round(sound.start_seconds * RATE) for sound in SCENE}
    count = round(SECONDS * RATE)
    return {label: scene[:, starts[label] :][:, :count] for label in PLAYED}


def _recording(folder: Path, label: str) -> NDArray[np.float32]:
    """Clips of the recording that is longest in the foreground, one after the other."""
    with (folder / "metadata/UrbanSound8K.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == label]
    clear = [row for row in rows if row["salience"] == "1"]
    source = Counter(row["fsID"] for row in clear).most_common(1)[0][0]
    clips = [_clip(folder, row) for row in clear if row["fsID"] == source]
    joined = np.concatenate(clips * 8)[: round(SECONDS * RATE)]
    return (joined * (0.3 / np.abs(joined).max())).astype(np.float32)[np.newaxis]


def _clip(folder: Path, row: dict[str, str]) -> NDArray[np.float32]:
    name = Path(row["slice_file_name"]).stem
    path = next((folder / f"audio/fold{row['fold']}").glob(f"{name}.*"))
    samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples[:, 0], sample_rate, RATE)
