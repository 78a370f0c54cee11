"""Sounds to play into the virtual microphone: real ones where there are any.

The variable SOUND_MONITOR_RECORDINGS names a folder laid out like UrbanSound8K, with
WAV or FLAC files; without it the sounds of the demo scene serve.
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


def sounds() -> dict[str, NDArray[np.float32]]:
    """A siren and a drill, or the two longest sounds of the demo, by label.

    Each is float32, shape (1, 8 s at 44.1 kHz), or shorter if it is a short sound.
    """
    folder = os.environ.get("SOUND_MONITOR_RECORDINGS")
    if folder:
        return {label: _recording(Path(folder), label) for label in RECORDED}
    scene = render_scene(RATE)
    longest = sorted(SCENE, key=lambda sound: sound.start_seconds - sound.end_seconds)
    return {
        sound.label: scene[
            :,
            round(sound.start_seconds * RATE) : round(
                min(sound.end_seconds, sound.start_seconds + SECONDS) * RATE
            ),
        ]
        for sound in longest[:2]
    }


RECORDED = ("siren", "drilling")


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
