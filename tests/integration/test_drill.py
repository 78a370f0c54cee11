"""`sound-monitor drill` as a user runs it: what it breaks, and what it leaves."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.runtime.drills.monitor_process import children
from tests.support.pulse import PulseServer

SECONDS = 300.0
DRILL = [sys.executable, "-m", "monitor", "drill"]
OF_DISKS_AND_KILLS = ("disk", "readonly", "crash")
OF_THE_REST = ("overrun", "webhook", "terminal", "clock", "page")

# Plays quiet noise, but only once.
ONCE = """
import os, sys, time
path = sys.argv[1]
if os.path.exists(path):
    sys.exit("the microphone is broken")
open(path, "w").close()
while True:
    sys.stdout.buffer.write(os.urandom(1000) * 8)
    sys.stdout.buffer.flush()
    time.sleep(0.09)
"""


@contextmanager
def drill(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A drill whose temporary folders are in `folder`."""
    temporary = folder / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [*DRILL, *arguments],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(SECONDS)
        assert list(temporary.iterdir()) == []


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a drill; return its exit code and its outcome."""
    with drill(folder, "--json", *arguments) as process:
        out, errors = process.communicate(timeout=SECONDS)
    assert out, errors
    (outcome,) = json.loads(out)
    return process.returncode, outcome


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_interrupted_source_is_captured_again(tmp_path: Path) -> None:
    code, outcome = run(tmp_path, "unplug", "--input", "demo:")
    assert (code, outcome["passed"]) == (0, True), outcome
    facts = outcome["facts"]
    assert 0 < facts["killed_seconds"] <= outcome["recovery_seconds"]
    assert outcome["recovery_seconds"] < 20
    assert len(facts["gap_seconds"]) >= 2


@pytest.mark.slow
@pytest.mark.soundcard
@pytest.mark.timeout(400)
def test_the_configured_microphone_is_the_one_that_is_interrupted(
    tmp_path: Path, pulse: PulseServer
) -> None:
    code, outcome = run(tmp_path, "unplug")
    assert (code, outcome["passed"]) == (0, True), outcome
    assert outcome["facts"]["input"] == "mic:default"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_source_that_does_not_come_back_fails_the_drill(tmp_path: Path) -> None:
    script = tmp_path / "once.py"
    script.write_text(ONCE)
    command = shlex.join([sys.executable, str(script), str(tmp_path / "was-there")])
    code, outcome = run(tmp_path, "unplug", "--input", f"command:{command}")
    assert (code, outcome["passed"]) == (1, False)
    assert "did not capture the source again" in outcome["sentence"]
    assert "the microphone is broken" in outcome["sentence"]


def test_a_monitor_that_does_not_start_fails_the_drill_with_its_message(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config.yaml"
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"no model")
    config.write_text(f"model: {{file: {model}}}\n")
    arguments = ["unplug", "--input", "demo:", "--config", str(config)]
    code, outcome = run(tmp_path, *arguments)
    assert (code, outcome["passed"]) == (1, False)
    assert "the monitor ended" in outcome["sentence"]
    assert "model.safetensors" in outcome["sentence"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_everything_that_it_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    with drill(tmp_path, "unplug", "--input", "demo:") as process:
        assert process.stderr is not None
        assert any("is killed" in line for line in process.stderr)
        (private,) = children(process.pid)
        process.send_signal(number)
        assert process.wait(SECONDS) == 130
    assert not Path(f"/proc/{private}").exists()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(n, marks=pytest.mark.slow) for n in OF_DISKS_AND_KILLS),
        *(pytest.param(n, marks=pytest.mark.soak) for n in OF_THE_REST),
    ],
)
def test_it_passes_here(tmp_path: Path, name: str) -> None:
    code, outcome = run(tmp_path, name)
    assert (code, outcome["passed"]) == (0, True), outcome
