"""An archive is analysed once, whatever fails, and always to the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.errors import SoundMonitorError
from monitor.fleet.archive.analysis import Analyzer, Task
from monitor.fleet.archive.engines.processes import Processes
from monitor.fleet.archive.manifest import Entry, Manifest
from monitor.fleet.archive.progress import Display
from monitor.fleet.archive.run import run_archive
from monitor.fleet.archive.tables import RecordingTables
from tests.support.archives import (
    contents,
    run_engine,
    run_inline,
    settings_for,
    tasks_of,
    write_archive,
    write_recording,
)
from tests.support.commands import fails
from tests.support.store import score_frames
from tests.support.timed import LABELS


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings that can be read, one that is cut off, and one of text."""
    return write_archive(tmp_path_factory.mktemp("recordings") / "cards")


@pytest.fixture(scope="module")
def expected(
    recordings: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The results of this process alone, one recording after the other."""
    out = tmp_path_factory.mktemp("alone") / "out"
    settings = settings_for(out)
    tasks, digest = tasks_of(recordings, settings)
    with Manifest(out) as manifest:
        analyzer = Analyzer(settings, digest)
        for task in tasks:
            manifest.add(analyzer.analyze(task, lambda _share: None))
    return contents(out)


class Killing(Processes):
    """Kills the worker of some recordings as soon as it has got one of them."""

    def __init__(self, *arguments: object, kills: dict[str, int]) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.kills = kills

    def give(self, worker: int, task: Task) -> None:
        super().give(worker, task)
        if self.kills.get(task.input.name, 0):
            self.kills[task.input.name] -= 1
            pid = self._running[worker].process.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)


def entries(out: Path) -> dict[str, dict[str, object]]:
    lines = (out / "manifest.jsonl").read_text().splitlines()
    return {entry["file"]: entry for entry in map(json.loads, lines)}


def test_two_workers_give_the_bytes_of_one(
    recordings: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    line = ("archive", recordings, "--out", out, "--workers", "2")
    code, error = fails(capsys, *line)
    assert code == 1
    assert contents(out) == expected
    assert "cards/yard/20240501_060000.wav: the recording stops before its end" in error
    assert "cards/broken.wav: not a recording that can be read" in error
    found = entries(out)
    assert {it["status"] for it in found.values()} == {"done", "damaged", "failed"}
    yard = found["cards/yard/20240501_050001.wav"]
    assert (yard["source"], yard["start"]) == ("yard", "2024-05-01T05:00:01.000Z")
    assert (yard["seconds"], yard["events"], yard["error"]) == (8.0, 1, None)
    assert found["cards/porch/no time.flac"]["start"] is None
    assert not list(out.glob(".*.part"))


def test_what_is_done_is_left_out_until_it_or_the_settings_change(
    tmp_path: Path,
) -> None:
    write_recording(tmp_path / "in" / "20240501_050000.wav", 6.0)
    path = write_recording(tmp_path / "in" / "20240501_060000.wav", 6.0)
    settings = settings_for(tmp_path / "out")
    assert run_inline(tmp_path / "in", settings).skipped == 0
    first = contents(settings.out)
    assert run_inline(tmp_path / "in", settings).skipped == 2
    assert contents(settings.out) == first
    write_recording(path, 7.0)
    assert run_inline(tmp_path / "in", settings).skipped == 1
    second = contents(settings.out)
    # The results of the old recording are gone.
    assert len(second) == len(first)
    assert len(set(second) & set(first)) == 1 + (len(first) - 1) // 2
    assert run_inline(tmp_path / "in", replace(settings, site="hill")).skipped == 0


def test_a_worker_that_dies_costs_the_time_of_its_recording_alone(
    recordings: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = settings_for(tmp_path / "out")
    tasks, digest = tasks_of(recordings, settings)
    kills = {"cards/yard/20240501_050001.wav": 1, "cards/porch/no time.flac": 3}
    engine = Killing(settings, digest, 2, kills=kills)
    totals = run_engine(settings, tasks, engine)
    assert (totals.done, totals.damaged, totals.failed) == (3, 1, 2)
    assert "its worker died (killed by SIGKILL): it is tried again" in caplog.text
    lost = entries(settings.out)["cards/porch/no time.flac"]
    assert lost["error"] == (
        "cards/porch/no time.flac: its worker died 3 times, at last: killed by SIGKILL"
    )
    # What has failed is tried again by the next run.
    again = run_inline(recordings, settings)
    assert (again.done, again.skipped) == (4, 4)
    assert contents(settings.out) == expected


def test_shards_share_the_work_and_the_folder(
    recordings: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    run_inline(recordings, settings_for(out), (1, 2))
    line = ("archive", recordings, "--out", out, "--workers", "1", "--shard", "2/2")
    fails(capsys, *line)
    counts = [
        len((out / f"manifest-{part}-of-2.jsonl").read_text().splitlines())
        for part in (1, 2)
    ]
    assert sum(counts) == 6
    assert min(counts) > 0
    results = contents(out)
    lines = [results.pop(it) for it in sorted(results) if it.startswith("manifest")]
    whole = expected["manifest.jsonl"].splitlines()
    assert sorted(b"".join(lines).splitlines()) == whole
    assert results == {k: it for k, it in expected.items() if k != "manifest.jsonl"}


@pytest.mark.slow
def test_ctrl_c_and_a_kill_leave_what_the_next_run_goes_on_with(
    expected: dict[str, bytes], recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["archive", str(recordings), "--out", str(out), "--workers", "1"]
    program = [sys.executable, "-m", "monitor", *arguments]
    counts = [0]
    for number in (signal.SIGINT, signal.SIGKILL):
        running = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
        manifest = out / "manifest.jsonl"
        while running.poll() is None:
            lines = manifest.read_text().count("\n") if manifest.exists() else 0
            if lines > counts[-1]:
                running.send_signal(number)
                break
            time.sleep(0.01)
        _, error = running.communicate(timeout=30)
        assert "Traceback" not in error
        assert running.returncode in (130, -9)
        counts.append(manifest.read_text().count("\n"))
    assert 1 <= counts[1] < 6
    assert subprocess.run(program, capture_output=True, check=False).returncode == 1
    assert contents(out) == expected


def test_a_cut_line_of_the_manifest_costs_one_recording(tmp_path: Path) -> None:
    entry = Entry("a.wav", 1, "1", "model", "settings", "done", output="a" * 32)
    with Manifest(tmp_path) as manifest:
        manifest.add(entry)
    path = tmp_path / "manifest.jsonl"
    path.write_text(path.read_text() + '{"file": "b.wav", "si')
    with Manifest(tmp_path) as manifest:
        assert set(manifest.entries) == {"a.wav"}
        manifest.add(replace(entry, file="c.wav"))
        # As a kill would leave it.
        assert path.read_text().count("\n") == 3
    assert set(entries(tmp_path)) == {"a.wav", "c.wav"}


def test_what_is_no_regular_file_fails_alone_and_any_name_is_read(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in"
    path = write_recording(folder / "20240501_050000.wav", 6.0)
    path.rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9_20240501_050000.wav"))
    (folder / "gone.wav").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.wav")
    write_recording(folder / "sidecar.wav", 6.0)
    os.mkfifo(folder / "sidecar.json")
    settings = settings_for(tmp_path / "out")
    totals = run_inline(folder, settings)
    assert (totals.done, totals.failed, totals.events) == (2, 2, 2)
    found = entries(settings.out)
    named = found["in/caf\\xe9_20240501_050000.wav"]
    assert named["start"] == "2024-05-01T05:00:00.000Z"
    assert str(found["in/gone.wav"]["error"]).startswith("in/gone.wav: it is gone")
    assert found["in/pipe.wav"]["error"] == "in/pipe.wav: it is not a regular file"


def test_a_second_run_into_a_folder_is_refused(tmp_path: Path) -> None:
    with Manifest(tmp_path):
        with pytest.raises(SoundMonitorError, match="another run is writing"):
            Manifest(tmp_path)
        Manifest(tmp_path, (1, 2)).close()


def test_a_long_recording_is_written_while_it_is_analysed(tmp_path: Path) -> None:
    kept = []
    place = {"source": "street"}
    with (
        Manifest(tmp_path),
        RecordingTables(tmp_path, "one", place, None, LABELS, most_rows=8) as tables,
    ):
        for frame in score_frames(30):
            tables.write([frame])
            kept.append(len(tables._frames))
    file = pq.ParquetFile(tmp_path / "scores" / "one.parquet")
    groups = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
    assert max(kept) < 8
    assert groups == [8, 8, 8, 6]


def test_the_tables_hold_levels_and_scores_at_their_times(
    recordings: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    for name, data in expected.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with duckdb.connect() as database:
        siren = database.execute(
            "SELECT max(scores[list_position(string_split(labels, ','), 'siren')]), "
            "min(epoch_ms(start)) FROM read_parquet(?) "
            "WHERE file = 'cards/yard/20240501_050001.wav'",
            [f"{tmp_path}/scores/*.parquet"],
        ).fetchone()
        ends = [
            database.execute(
                "SELECT start_seconds + seconds FROM read_parquet(?) "
                "WHERE file = 'cards/yard/20240501_050001.wav' ORDER BY start",
                [f"{tmp_path}/{kind}/*.parquet"],
            ).fetchall()
            for kind in ("levels", "scores")
        ]
        loudest = database.execute(
            "SELECT file, epoch_ms(start) % 60000, laeq_db, seconds "
            "FROM read_parquet(?) WHERE source = 'yard' ORDER BY laeq_db DESC LIMIT 1",
            [f"{tmp_path}/levels/*.parquet"],
        ).fetchone()
    # The level is that of the newest hop of the window.
    assert ends[0][0][0] == pytest.approx(4.005, abs=0.002)
    assert [round(it, 2) for (it,) in ends[0]] == [round(it, 2) for (it,) in ends[1]]
    assert siren is not None
    assert loudest is not None
    assert siren[0] > 0.6
    assert siren[1] == 1714539601000
    assert 2000 < loudest[1] < 8000
    assert -12 < loudest[2] < -5
    assert loudest[3] == pytest.approx(0.557, abs=0.001)


def test_the_offset_of_a_source_of_the_configuration_counts(tmp_path: Path) -> None:
    write_recording(tmp_path / "in" / "yard_20240501_050000.wav", 6.0)
    levels = []
    for offset_db in (0.0, 100.0):
        source = SourceSettings(name="yard", level_offset_db=offset_db)
        config = Config(sources=(source,))
        settings = settings_for(tmp_path / f"out{offset_db}", config)
        (task,), digest = tasks_of(tmp_path / "in", settings)
        with Manifest(settings.out):
            entry = Analyzer(settings, digest).analyze(task, lambda _share: None)
        place = settings.out / "events" / f"{entry.output}.parquet"
        levels.append(pq.read_table(place).column("laeq_db")[0].as_py())
    assert levels[1] - levels[0] == pytest.approx(100.0)


def test_recordings_at_urls_are_fetched(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "june" / "20240501_050000.wav", 6.0)
    with zipfile.ZipFile(tmp_path / "card.zip", "w") as archive:
        archive.write(path, "june/20240501_050000.wav")
        archive.writestr("june/broken.wav", "no sound")
    settings = settings_for(tmp_path / "out")
    url = f"zip://june/*.wav::file://{tmp_path}/card.zip"
    tasks, digest = tasks_of(url, settings)
    with Manifest(settings.out):
        analyzer = Analyzer(settings, digest)
        good, bad = [analyzer.analyze(task, lambda _share: None) for task in tasks]
        path.unlink()
        (tmp_path / "card.zip").unlink()
        gone = analyzer.analyze(tasks[0], lambda _share: None)
    assert (good.status, good.events) == ("done", 1)
    assert bad.error is not None
    assert bad.error.startswith("june/broken.wav: not a recording")
    assert gone.error is not None
    assert gone.error.startswith("june/20240501_050000.wav: FileNotFoundError")
    assert not list(settings.out.glob(f".{good.output}*"))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--shard", "0/4"], 2, "--shard: '0/4' must be I/N"),
        (["--shard", "x"], 2, "--shard: 'x' must be I/N"),
        (["--address", "auto"], 2, "--address: is of --engine ray"),
        (["--source", "a b"], 2, "--source: 'a b' must begin with a letter"),
        (["--time-zone", "Mars"], 2, "--time-zone: 'Mars' is no time zone"),
        (["--out", "/proc/nowhere"], 1, "--out: /proc/nowhere: "),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str],
    code: int,
    sentence: str,
    recordings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["archive", str(recordings), "--out", str(tmp_path / "out"), *arguments]
    found, error = fails(capsys, *line)
    assert (found, error.count("\n")) == (code, 1)
    assert sentence in error


def test_workers_with_another_model_end_the_run(
    recordings: Path, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "out")
    tasks, _ = tasks_of(recordings, settings)
    with pytest.raises(SoundMonitorError, match="has another model, or other labels"):
        run_engine(settings, tasks, Processes(settings, "another", 1))


def test_a_full_disk_ends_the_run(recordings: Path, tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "out")
    tasks, digest = tasks_of(recordings, settings)
    sentence = "--out: .*: No space left on device; the same command again goes on"
    with Manifest(settings.out) as manifest, Display() as display:
        for task in tasks:
            part = settings.out / "scores" / f".{task.entry.output}.parquet.part"
            part.symlink_to("/dev/full")
        with pytest.raises(SoundMonitorError, match=sentence):
            run_archive(tasks, manifest, Processes(settings, digest, 1), display)
        assert not [it for it in manifest.entries.values() if "space" in str(it.error)]
