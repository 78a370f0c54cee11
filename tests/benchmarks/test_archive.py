"""An archive is analysed as fast as its workers allow, and a year is read at once."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.fleet.archive.engines.processes import Processes
from monitor.fleet.archive.joined import join_archive
from monitor.fleet.archive.manifest import Entry, Manifest
from monitor.fleet.parquet import EVENTS, HOURS, parquet_file, table_of
from monitor.sinks.store.level_hours import LevelHour
from tests.support.archives import run_engine, settings_for, tasks_of, write_recording

pytestmark = pytest.mark.benchmark

DAYS = 366
EVENTS_AN_HOUR = 2
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.timeout(600)
def test_workers_share_the_work_without_loss(tmp_path: Path) -> None:
    """Within a tenth of the speed of as many runs of one worker at the same time.

    So it is not the machine that is measured: two cores may be one that is shared.
    """
    cores = min(4, len(os.sched_getaffinity(0)))
    if cores < 2:
        pytest.skip("needs two cores")
    for number in range(4 * cores):
        name = f"20240501_{number:02d}0000.wav"
        write_recording(tmp_path / "in" / name, 600.0, seed=number)

    def analyze(out: str, first: int, step: int, workers: int) -> None:
        settings = settings_for(tmp_path / out)
        tasks, digest = tasks_of(tmp_path / "in", settings)
        run_engine(settings, tasks[first::step], Processes(settings, digest, workers))

    began = time.monotonic()
    runs = [
        threading.Thread(target=analyze, args=(f"one{each}", each, cores, 1))
        for each in range(cores)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    apart = time.monotonic() - began
    began = time.monotonic()
    analyze("together", 0, 1, cores)
    together = time.monotonic() - began
    print(f"apart {apart:.1f} s, together {together:.1f} s")  # noqa: T201
    assert together <= apart / 0.9


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "line", ["report 2024-05-01", "events", "report 2024-12-31 --diary --days 366"]
)
def test_a_year_of_a_microphone_is_read_at_once(
    line: str, year: Path, tmp_path: Path
) -> None:
    """In eight times as long as the command takes to say that there is no archive."""

    def seconds(archive: Path) -> float:
        arguments = [*line.split(), "--archive", str(archive)]
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "monitor", *arguments],
            capture_output=True,
            check=False,
        )
        return time.monotonic() - began

    start = min(seconds(tmp_path) for _ in range(3))
    assert min(seconds(year) for _ in range(3)) < 8 * start


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A year of recordings of an hour each, with two events in each."""
    out = tmp_path_factory.mktemp("year")
    with Manifest(out) as manifest, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        for number in range(24 * DAYS):
            start, output = BEGIN + timedelta(hours=number), f"{number:032x}"
            name = f"yard/{start:%Y%m%d_%H%M%S}.wav"
            place: dict[str, object] = {"source": "yard", "file": name}
            rows = [
                place | _event(start + timedelta(minutes=20 * at), f"{number}/{at}")
                for at in range(EVENTS_AN_HOUR)
            ]
            with parquet_file(out / "events" / f"{output}.parquet", EVENTS) as writer:
                writer.write_table(table_of(rows, EVENTS))
            hour = place | _hour(start)
            with parquet_file(out / "hours" / f"{output}.parquet", HOURS) as writer:
                writer.write_table(table_of([hour], HOURS))
            manifest.add(
                Entry(
                    *(name, 1, "1", "model", "settings", "done"),
                    output=output,
                    source="yard",
                    start=f"{start:%Y-%m-%dT%H:%M:%SZ}",
                    seconds=3600.0,
                    windows_ms=[[0, 3_600_000]],
                    sample_rate=44_100,
                )
            )
    join_archive(out)
    return out


def _event(start: datetime, name: str) -> dict[str, object]:
    return {
        "type": "event",
        "id": name,
        "label": ("siren", "dog_bark", "car_horn")[start.day % 3],
        "start": start,
        "end": start + timedelta(seconds=3),
        "start_sample": 0,
        "stop_sample": 132_300,
        "peak_score": 0.9,
        "mean_score": 0.8,
        "level_dbfs": -30.0,
        "laeq_db": -35.0,
        "lafmax_db": -30.0,
        "level_offset_db": 0.0,
        "end_reason": "offset",
        "top": [{"label": "siren", "score": 0.9}],
        "model": "urban",
    }


def _hour(start: datetime) -> dict[str, object]:
    levels = Counter({-500 + step: 100 for step in range(200)})
    columns = LevelHour("yard", start, 0.0, 3600.0, 0.1, -20.0, levels).columns()
    return columns | {"start": start, "level_offset_db": 0.0}
