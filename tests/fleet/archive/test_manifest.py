"""Of several results of a recording the newest counts, in whatever manifest."""

import os
from dataclasses import replace
from pathlib import Path

from monitor.fleet.archive.joined import join_archive
from monitor.fleet.archive.manifest import Manifest
from monitor.fleet.archive.reader import open_archive
from tests.support.archives import run_inline, settings_for, write_recording


def events_of(out: Path) -> list[str]:
    """The recordings of all events, as `events --archive` reads them."""
    with open_archive(out) as reader:
        return sorted(reader.files.values())


def test_other_settings_and_shards_never_double_or_lose_an_event(
    tmp_path: Path,
) -> None:
    for number in range(4):
        name = f"20240501_05000{number}.wav"
        write_recording(tmp_path / "in" / name, 6.0, seed=number)
    folder, plain = tmp_path / "in", settings_for(tmp_path / "out")
    hill = replace(plain, site="hill")
    every = [f"in/20240501_05000{number}.wav" for number in range(4)]
    parts = [(1, 2), (2, 2)]
    for _ in range(2):
        assert run_inline(folder, plain).skipped == 0
        join_archive(plain.out)
        assert events_of(plain.out) == every
        assert run_inline(folder, plain).skipped == 4
        for part in parts:
            assert run_inline(folder, hill, part).skipped == 0
            assert events_of(plain.out) == every
        assert sum(run_inline(folder, hill, part).skipped for part in parts) == 4
    assert len(list((plain.out / "levels").iterdir())) == 4


def test_a_failure_counts_as_the_newest_result(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "in" / "20240501_050000.wav", 6.0)
    settings, content, facts = (
        settings_for(tmp_path / "out"),
        path.read_bytes(),
        path.stat(),
    )
    run_inline(tmp_path / "in", settings)
    path.write_text("no sound")
    assert run_inline(tmp_path / "in", settings, (1, 1)).failed == 1
    assert events_of(settings.out) == []
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert run_inline(tmp_path / "in", settings).skipped == 0
    assert events_of(settings.out) == ["in/20240501_050000.wav"]


def test_what_a_kill_leaves_is_swept_once_no_run_goes_on(tmp_path: Path) -> None:
    left = [f".{'a' * 32}.wav", f"levels/.{'a' * 32}.parquet.part", ".x.jsonl.part"]
    with Manifest(tmp_path, (1, 2)):
        for name in (*left, ".mine"):
            (tmp_path / name).touch()
        Manifest(tmp_path, (2, 2)).close()
        assert all((tmp_path / name).exists() for name in left)
    Manifest(tmp_path).close()
    assert not any((tmp_path / name).exists() for name in left)
    assert (tmp_path / ".mine").exists()
