"""Fixtures of the integration tests."""

import sys
from pathlib import Path

import pytest

from monitor.audio.sources.demo import SCENE, render_scene
from tests.support.pulse import pulse

__all__ = ["pulse"]

SIREN = SCENE[0]

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
    rate = 44_100
    samples = render_scene(rate)[
        0, round(SIREN.start_seconds * rate) : round(SIREN.end_seconds * rate)
    ]
    pcm = tmp_path / "siren.pcm"
    pcm.write_bytes((samples * 32767).astype("<i2").tobytes())
    script = tmp_path / "loop.py"
    script.write_text(LOOP)
    return f"command:{sys.executable} {script} {pcm}"
