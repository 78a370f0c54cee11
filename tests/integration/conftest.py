"""Fixtures of the integration tests."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.audio.sources.demo import SCENE, render_scene
from tests.support.pulse import pulse

__all__ = ["pulse"]

SIREN = SCENE[0]
RATE = 44_100
Mono = NDArray[np.float32]

# Raw PCM of a file, again and again, at the speed of sound.  Whoever opens it anew has
# lost something: its first block comes too late to stand for the time until then.
LOOP = """
import sys, time
data = open(sys.argv[1], "rb").read()
time.sleep(0.5)
while True:
    for start in range(0, len(data), 8820):
        sys.stdout.buffer.write(data[start : start + 8820])
        sys.stdout.buffer.flush()
        time.sleep(0.1)
"""


@pytest.fixture
def siren_command(tmp_path: Path) -> str:
    """A command that plays the siren of the demo for ever."""
    return command_of(tmp_path, _scene(SIREN.start_seconds, SIREN.end_seconds))


@pytest.fixture
def passing_siren_command(tmp_path: Path) -> str:
    """A command that plays four seconds of the siren, half a minute of traffic, ..."""
    siren = _scene(SIREN.start_seconds, SIREN.start_seconds + 4)
    return command_of(tmp_path, np.concatenate([siren, *[_scene(0, 5)] * 6]))


def _scene(start: float, stop: float) -> Mono:
    return render_scene(RATE)[0, round(start * RATE) : round(stop * RATE)]


def command_of(folder: Path, samples: Mono) -> str:
    """A command that plays samples for ever."""
    pcm = folder / "sound.pcm"
    pcm.write_bytes((samples * 32767).astype("<i2").tobytes())
    script = folder / "loop.py"
    script.write_text(LOOP)
    return f"command:{sys.executable} {script} {pcm}"
