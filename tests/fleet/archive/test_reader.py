"""`events` and `report` say of an archive what they say of a database."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from monitor.audio.sources.demo import render_scene
from monitor.commands.app import run_command_line
from monitor.fleet.archive.analysis import Analyzer
from monitor.fleet.archive.joined import join_archive
from monitor.fleet.archive.manifest import Manifest
from monitor.fleet.archive.reader import open_archive
from monitor.fleet.archive.tables import RecordingTables
from monitor.records import Timed
from monitor.runtime.offline import analyze_into
from monitor.sinks.sink import Sink
from tests.support.archives import run_inline, settings_for, tasks_of, write_recording
from tests.support.clock import FakeClock
from tests.support.commands import fails, run
from tests.support.store import make_store

RATE = 44_100
BEGIN = datetime(2024, 5, 1, 5, 59, 30, tzinfo=UTC)
"""The demo scene lasts a minute: it is half in one hour, half in the next."""


class Both(Sink):
    """Hands the records of a recording to its tables and to a store."""

    def __init__(self, tables: RecordingTables, store: Sink) -> None:
        self.tables, self.store = tables, store

    def write(self, batch: list[Timed], /) -> None:  # type: ignore[override]
        self.tables.write(batch)
        self.store.write(list(map(self.tables.dated, batch)))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo scene with a clipped second and a gap, in an archive and a database."""
    folder = tmp_path_factory.mktemp("recorded")
    scene = render_scene(RATE).mean(axis=0)
    scene[22 * RATE : 25 * RATE] = np.sign(scene[22 * RATE : 25 * RATE])
    scene[36 * RATE : 37 * RATE] = np.nan
    path = folder / "in" / f"yard_{BEGIN:%Y%m%d_%H%M%S}.wav"
    path.parent.mkdir()
    soundfile.write(path, scene, RATE, "FLOAT")
    settings = settings_for(folder / "out")
    (task,), digest = tasks_of(folder / "in", settings)
    clock = FakeClock()
    clock.wall = BEGIN
    store = make_store(folder / "state" / "monitor.db", clock)
    with Manifest(settings.out) as manifest:
        analyzer = Analyzer(settings, digest)
        original = analyze_into

        def into_both(tables: RecordingTables, *rest: object, **more: object) -> object:
            return original(Both(tables, store), *rest, **more)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("monitor.fleet.archive.analysis.analyze_into", into_both)
            manifest.add(analyzer.analyze(task, lambda _share: None))
    clock.wall = BEGIN + timedelta(seconds=60)
    store.close()
    (folder / "config.yaml").write_text(f"state_dir: {folder / 'state'}\n")
    return folder / "out", folder / "config.yaml"


@pytest.mark.parametrize(
    "line",
    [
        "report 2024-05-01 --json",
        "report 2024-05-01",
        "report 2024-05-01 --label siren",
        "report 2024-04-30",
        "report 2024-05-01 --diary --days 2 --json",
        "events --since 2024-05-01T06:00",
        "events --until 2024-05-01T06:00 --label siren --csv",
    ],
)
def test_figures_are_those_of_the_database(
    line: str, recorded: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    archive, config = recorded
    arguments = [*line.split(), "--config", config]
    stored = run(capsys, *arguments)
    of_archive = run(capsys, *arguments, "--archive", archive)
    if line.endswith("--csv"):
        name = f"in/yard_{BEGIN:%Y%m%d_%H%M%S}.wav"
        of_archive = of_archive.replace(f",{name}", "").replace(",file", "")
    assert of_archive == stored
    assert "siren" in stored or "dog_bark" in stored or "04-30" in line


def test_the_report_has_all_kinds_of_records(
    recorded: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    archive, config = recorded
    line = ("report", "2024-05-01", "--archive", archive, "--config", config, "--json")
    facts = json.loads(run(capsys, *line))
    yard = facts["sources"]["yard"]
    assert 1.0 <= yard["lost_seconds"]["invalid"] <= 2.0
    assert yard["laeq_db_by_hour"][5] is not None
    assert yard["laeq_db_by_hour"][6] is not None
    assert {it["label"] for it in facts["events"]} >= {"siren", "drilling"}


def test_without_a_day_those_of_the_archive_are_named(
    recorded: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    archive, _ = recorded
    assert run_command_line(["report", "--archive", str(archive)]) == 2
    assert "it has 2024-05-01: name one" in capsys.readouterr().err


def test_events_name_their_recording(
    recorded: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    archive, config = recorded
    out = run(capsys, "events", "--archive", archive, "--config", config, "--json")
    files = {json.loads(line)["file"] for line in out.splitlines()}
    assert files == {f"in/yard_{BEGIN:%Y%m%d_%H%M%S}.wav"}


def test_recordings_without_a_time_are_among_all_events(tmp_path: Path) -> None:
    write_recording(tmp_path / "in" / "a.wav", 6.0)
    settings = settings_for(tmp_path / "out")
    run_inline(tmp_path / "in", settings)
    with open_archive(settings.out) as reader:
        (event,) = reader.events()
        assert (event.start_utc, round(event.start_seconds)) == (None, 2)
    with open_archive(settings.out, BEGIN) as reader:
        assert not list(reader.events())


def test_hours_of_several_recordings_add_up(tmp_path: Path) -> None:
    for minute in (0, 1, 2):
        name = f"yard_20240501_050{minute}00.wav"
        write_recording(tmp_path / "in" / name, 20.0, seed=minute)
    settings = settings_for(tmp_path / "out")
    run_inline(tmp_path / "in", settings)
    with open_archive(settings.out) as reader:
        (hour,) = reader.level_hours()
        assert hour.source == "yard"
        assert hour.covered_seconds == pytest.approx(3 * 16.5, abs=1.5)
        assert hour.histogram.total() > 300


def test_the_joined_files_are_the_same_however_they_came_about(
    recorded: tuple[Path, Path], tmp_path: Path
) -> None:
    """They follow the manifest, and never say more or less than it does."""
    for number in range(3):
        name = f"yard_20240501_0{number}0000.wav"
        write_recording(tmp_path / "in" / name, 6.0, seed=number)
    settings = settings_for(tmp_path / "out")
    tasks, digest = tasks_of(tmp_path / "in", settings)
    analyzer, joined = None, settings.out / "events.parquet"
    counts = []
    for task in tasks:
        with Manifest(settings.out) as manifest:
            analyzer = analyzer or Analyzer(settings, digest)
            manifest.add(analyzer.analyze(task, lambda _share: None))
        with open_archive(settings.out) as reader:
            counts.append(len(list(reader.events())))
        join_archive(settings.out)
    assert counts == [1, 2, 3]
    in_steps = joined.read_bytes()
    joined.unlink()
    join_archive(settings.out)
    assert joined.read_bytes() == in_steps
    # The newest has changed since.
    with Manifest(settings.out) as manifest:
        manifest.add(replace(manifest.entries[tasks[2].input.name], output="a" * 32))
    with open_archive(settings.out) as reader:
        assert len(list(reader.events())) == 2
    join_archive(settings.out)
    assert pq.read_table(joined).num_rows == 2


def test_other_settings_replace_results_in_whatever_shards_they_came_about(
    tmp_path: Path,
) -> None:
    write_recording(tmp_path / "in" / "yard_20240501_050000.wav", 6.0)
    settings = settings_for(tmp_path / "out")
    for site, shard in (("a", (1, 1)), ("b", None), ("a", (1, 1)), ("a", None)):
        totals = run_inline(tmp_path / "in", replace(settings, site=site), shard)
        assert totals.skipped == (site == "a" and shard is None)
        with open_archive(settings.out) as reader:
            assert len(list(reader.events())) == 1
        join_archive(settings.out)
    rows = pq.read_table(settings.out / "events.parquet").to_pylist()
    assert [row["site"] for row in rows] == ["a"]


@pytest.mark.parametrize(
    ("command", "damage", "sentence"),
    [
        ("events", None, "holds no archive; 'archive --out' makes one"),
        ("report", None, "holds no archive; 'archive --out' makes one"),
        ("events", b"no parquet", "cannot be read: "),
    ],
)
def test_what_is_no_archive_is_said_in_a_sentence(
    command: str,
    damage: bytes | None,
    sentence: str,
    recorded: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if damage is not None:
        archive, _ = recorded
        (tmp_path / "events").mkdir()
        (tmp_path / "hours").mkdir()
        manifest = (archive / "manifest.jsonl").read_text()
        (tmp_path / "manifest.jsonl").write_text(manifest)
        (name,) = (archive / "events").iterdir()
        (tmp_path / "events" / name.name).write_bytes(damage)
    code, error = fails(capsys, command, "--archive", tmp_path)
    assert (code, error.count("\n")) == (1, 1)
    assert sentence in error


def test_a_file_that_the_manifest_does_not_have_is_left_out(
    recorded: tuple[Path, Path], tmp_path: Path
) -> None:
    archive, _ = recorded
    (tmp_path / "events").mkdir()
    (tmp_path / "hours").mkdir()
    (tmp_path / "manifest.jsonl").write_text("")
    (name,) = (archive / "events").iterdir()
    (tmp_path / "events" / name.name).write_bytes(name.read_bytes())
    with open_archive(tmp_path) as reader:
        assert not list(reader.events())
