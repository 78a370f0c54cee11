"""Small archives of recordings: a siren, noise, a stereo file, and broken ones."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from monitor.audio.sources.demo import render_sound
from monitor.config.config import Config
from monitor.fleet.archive.analysis import (
    Analyzer,
    ArchiveSettings,
    Task,
    task_of,
)
from monitor.fleet.archive.engines.engine import Engine, Report
from monitor.fleet.archive.inputs import find_inputs
from monitor.fleet.archive.manifest import Manifest
from monitor.fleet.archive.progress import Display
from monitor.fleet.archive.recording_time import TimeRules
from monitor.fleet.archive.run import Totals, run_archive

RATE = 16_000


def write_recording(path: Path, seconds: float = 8.0, seed: int = 0) -> Path:
    """Write noise with a siren in its middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 0.003, round(seconds * RATE))
    siren = 0.3 * render_sound("siren", seconds / 2, RATE)
    begin = (len(noise) - len(siren)) // 2
    noise[begin : begin + len(siren)] += siren
    soundfile.write(path, noise, RATE)
    return path


def write_archive(folder: Path) -> Path:
    """Write four recordings that can be read, one that is cut off, and one of text."""
    for number in range(3):
        write_recording(folder / "yard" / f"20240501_05000{number}.wav", seed=number)
    write_recording(folder / "porch" / "no time.flac", 6.0, seed=9)
    cut = write_recording(folder / "yard" / "20240501_060000.wav", seed=7)
    cut.write_bytes(cut.read_bytes()[: 9 * RATE])
    (folder / "broken.wav").write_text("this is no recording")
    return folder


def with_chunk(path: Path, name: bytes, content: bytes) -> None:
    """Append a chunk to a WAV file."""
    data = path.read_bytes() + name + struct.pack("<I", len(content)) + content
    data += b"\0" * (len(content) % 2)
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


class Inline:
    """An engine of one worker, which is this thread."""

    workers = 1

    def __init__(self, settings: ArchiveSettings, digest: str) -> None:
        self._analyzer = Analyzer(settings, digest)
        self._reports: list[Report] = []

    def start(self) -> None:
        self._reports.append(Report(0, is_ready=True))

    def give(self, worker: int, task: Task) -> None:
        entry = self._analyzer.analyze(task, lambda _share: None)
        self._reports.append(Report(worker, entry=entry))

    def wait(self, seconds: float) -> Sequence[Report]:
        reports, self._reports = self._reports, []
        return reports

    def close(self) -> None:
        """Nothing runs."""


def run_inline(
    folder: Path, settings: ArchiveSettings, shard: tuple[int, int] | None = None
) -> Totals:
    """Analyse a folder in this process."""
    tasks, digest = tasks_of(folder, settings)
    if shard is not None:
        tasks = [task for task in tasks if task.input.is_of_shard(*shard)]
    with Manifest(settings.out, shard) as manifest, Display() as display:
        return run_archive(tasks, manifest, Inline(settings, digest), display)


def settings_for(out: Path, config: Config | None = None) -> ArchiveSettings:
    """Settings of a run into a folder."""
    return ArchiveSettings(config or Config(), out.parent, out, TimeRules())


def tasks_of(folder: Path | str, settings: ArchiveSettings) -> tuple[list[Task], str]:
    """The tasks of a folder, and the digest of the models."""
    digest = settings.chosen().digest()
    inputs = find_inputs([str(folder)])
    return [task_of(each, digest, settings.digest) for each in inputs], digest


def run_engine(
    settings: ArchiveSettings, tasks: Sequence[Task], engine: Engine
) -> Totals:
    """Run an engine over tasks."""
    with Manifest(settings.out) as manifest, Display() as display:
        return run_archive(tasks, manifest, engine, display)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all results by their names, without the files that join them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name[0] != "."
        if path.parent != folder or path.suffix != ".parquet"
    }
