"""Commands start within a few imports of numpy, in CPU time.

`import numpy` took 0.07 s on a quiet core of the machine where the bounds were set.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.benchmark

NUMPY = [sys.executable, "-c", "import numpy"]
COMMAND = [sys.executable, "-m", "monitor"]
ROUNDS = 5
"""A shared processor takes longer for the same work; the least of some counts."""


def cpu_seconds(command: list[str], home: Path) -> float:
    """Run a command to its end; return its processor time, children included."""
    environ = {"HOME": str(home), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, **quiet)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # it has been waited for
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize(
    ("line", "most"),
    [
        ("--help", 1.5),
        ("run --help", 1.1),
        ("status", 1.2),
        ("events", 3.0),
        ("check", 5.0),
        ("train EMPTY", 3.5),
        ("evaluate EMPTY", 4.0),
        ("calibrate --false-alarms-per-day 2 --background EMPTY", 4.0),
        ("run --speed max --input file:SOUND", 11.0),
    ],
)
def test_a_command_takes_as_long_as_some_imports_of_numpy(
    line: str, most: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    sound = tmp_path / "one-window.wav"
    noise = np.random.default_rng(0).normal(0, 0.05, round(4.1 * 44_100))
    soundfile.write(sound, noise, 44_100)
    config = tmp_path / ".config.yaml"
    config.write_text("sources: [{name: a, input: 'demo:'}]\n")
    line = line.replace("EMPTY", str(tmp_path / "empty")).replace("SOUND", str(sound))
    if line == "check":  # without the program that lists microphones
        line = f"check --config {config}"
    pairs = [
        (cpu_seconds([*COMMAND, *line.split()], tmp_path), cpu_seconds(NUMPY, tmp_path))
        for _ in range(ROUNDS)
    ]
    command, numpy = (min(figures) for figures in zip(*pairs, strict=True))
    with capsys.disabled():
        sys.stdout.write(f"\n{line}: {command:.3f} s, {command / numpy:.2f} of numpy\n")
    assert command < most * numpy
