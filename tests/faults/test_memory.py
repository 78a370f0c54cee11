"""With too little memory the monitor fails with one sentence."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fault_monitor import PATIENCE_SECONDS, Figure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("mib", "code"), [(200, 1), (12_000, 0)])
def test_too_little_memory_is_reported_in_one_sentence(
    tmp_path: Path, figures: list[Figure], mib: int, code: int
) -> None:
    command = [sys.executable, "-m", "monitor", "run"]
    limited = f"ulimit -v {mib * 1024}; exec {shlex.join(command)} --input demo:"
    answer = subprocess.run(
        ["bash", "-c", f"{limited} --speed max"],
        env={**os.environ, "STATE_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    said = [line for line in answer.stderr.splitlines() if " INFO " not in line]
    assert "Traceback" not in answer.stderr
    assert answer.returncode == code, answer.stderr
    assert len(said) == code, answer.stderr
    how = "reported in one sentence" if code else "enough"
    figures.append(Figure(f"{mib} MiB of address space: {how}"))
