"""A day of sound, fed as fast as it goes: memory, files and threads stay flat."""

import contextlib
import struct
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest

from monitor.model.trained import save_model
from tests.support.daemon import RunningMonitor
from tests.support.models import seeded_model
from tests.support.signals import noise

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

HOURS = 24
RATE = 8_000
BURSTS_AN_HOUR = 12
FLAT_MIB = 8.0
LOOK_SECONDS = 1.0


def write_day(path: Path) -> None:
    """Write a day of digital silence with a burst of noise every five minutes.

    What is silent takes no room on the disk.
    """
    size = HOURS * 3600 * RATE * 2
    header = struct.pack(
        "<4sI8sIHHIIHH4sI",
        *(b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, 1),
        *(RATE, 2 * RATE, 2, 16, b"data", size),
    )
    burst = (noise(5.0, 0.2, RATE) * 32767).astype("<i2").tobytes()
    with path.open("wb") as file:
        file.write(header)
        for number in range(HOURS * BURSTS_AN_HOUR):
            file.seek(44 + number * 3600 // BURSTS_AN_HOUR * RATE * 2)
            file.write(burst)
        file.truncate(44 + size)


def _own_mib(process: psutil.Process) -> float:
    """Memory of the process alone: pages of files come and go as the system likes."""
    memory = process.memory_info()
    return (memory.rss - memory.shared) / 2**20


def test_memory_is_flat_over_a_day(tmp_path):
    path = tmp_path / "day.wav"
    write_day(path)
    model = tmp_path / "model.safetensors"
    save_model(model, seeded_model())
    config = tmp_path / "config.yaml"
    lively = "{onset_threshold: 0.3, offset_threshold: 0.2}"
    labels = ", ".join(f"{label}: {lively}" for label in seeded_model().card.labels)
    config.write_text(
        f"sources: [{{name: day, input: 'file:{path}'}}]\n"
        f"model: {{file: '{model}', compute_device: cpu}}\n"
        f"detection: {{labels: {{{labels}}}}}\n"
    )
    used: dict[int, tuple[float, int, int]] = {}
    with RunningMonitor(tmp_path, "--config", str(config), "--speed", "max") as monitor:
        process = psutil.Process(monitor.process.pid)
        while monitor.process.poll() is None:
            events = monitor.records("event")
            hour = int(events[-1]["end_seconds"] // 3600) if events else 0
            if hour not in used:
                used[hour] = (
                    _own_mib(process),
                    process.num_fds(),
                    process.num_threads(),
                )
            with contextlib.suppress(subprocess.TimeoutExpired):
                monitor.process.wait(LOOK_SECONDS)
        assert monitor.process.returncode == 0, monitor.log
        events = monitor.records("event")
    assert len(events) >= HOURS * BURSTS_AN_HOUR
    after_first = [figures for hour, figures in sorted(used.items()) if hour >= 1]
    memory, files, threads = (
        np.array(column) for column in zip(*after_first, strict=True)
    )
    print(f"memory {memory.min():.0f} to {memory.max():.0f} MiB over {HOURS} hours")  # noqa: T201
    assert memory.max() - memory.min() <= FLAT_MIB
    assert files.max() == files.min()
    assert threads.max() == threads.min()
