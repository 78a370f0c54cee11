"""A synthetic clip, and what the network of the model world says of it elsewhere.

`python -m tests.support.world_teacher TEACHER` writes tests/data/world_teacher.npz with
the embedding and the logits that the ONNX file of EfficientAT's mn04_as gives.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from scipy.signal import lfilter

from monitor.model.frontend import Array
from monitor.model.networks.mn04 import SPEC

FILE = Path(__file__).parents[1] / "data" / "world_teacher.npz"
SECONDS = 5

_PADDING = SPEC.n_fft // 2
_EMPHASIS = np.float32(SPEC.pre_emphasis)


class Taught(NamedTuple):
    """The answer of the teacher."""

    embedding: Array
    """(384,)"""

    logits: Array
    """(527,), in the order of AudioSet's classes."""


def clip() -> Array:
    """A wail, bursts of noise and a hum: float32, (n,), the same every time."""
    rate = SPEC.sample_rate
    time = np.arange(SECONDS * rate) / rate
    wail = np.sin(2 * np.pi * (900 * time - 120 * np.cos(2 * np.pi * 0.7 * time)))
    hum = np.sin(2 * np.pi * 100 * time) + 0.5 * np.sin(2 * np.pi * 200 * time)
    hiss = 2 * np.random.default_rng(4).random(time.size) - 1
    bursts = (time % 0.8 < 0.1) * hiss
    mixed = 0.2 * wail * (time > 1) + 0.02 * hum + 0.3 * bursts + 0.003 * hiss
    return mixed.astype(np.float32)


def reflected(samples: Array) -> Array:
    """Samples whose frames, without any padding, are the centred ones of `samples`.

    The teacher's are centred, and padded by reflection behind the pre-emphasis: the
    samples are those whose pre-emphasis is that.
    """
    sharp = (samples[1:] - _EMPHASIS * samples[:-1]).astype(np.float64)
    padded = np.pad(sharp, _PADDING, mode="reflect")
    found = lfilter([1], [1, -SPEC.pre_emphasis], np.concatenate([[0.0], padded]))
    return np.asarray(found, np.float32)


def taught() -> Taught:
    """Read the answer of the teacher to `clip`."""
    with np.load(FILE) as arrays:
        return Taught(arrays["embedding"], arrays["logits"])


def main() -> None:
    """Ask the teacher."""
    session = onnxruntime.InferenceSession(sys.argv[1])
    embedding, logits = session.run(None, {"waveform": clip()[None]})
    FILE.parent.mkdir(exist_ok=True)
    np.savez(FILE, embedding=embedding[0], logits=logits[0])


if __name__ == "__main__":
    main()
