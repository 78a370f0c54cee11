"""The limits of the folder of clips, and deleting from it."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.config.outputs import ClipSettings
from monitor.sinks.clip_files import (
    FORGOTTEN,
    Clip,
    clean,
    forget,
    prepare,
    save,
    stored_clips,
)

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
UPTIME = 1e6
"""Monotonic seconds at that time."""


def clip(hours_ago: float, label: str = "siren") -> Clip:
    return Clip(
        event_id=f"session-street-{hours_ago:g}",
        source="street",
        label=label,
        begins=NOW - timedelta(hours=hours_ago),
        captured=UPTIME - 3600 * hours_ago,
        sample_rate=8000,
        samples=np.zeros((1, 8000), np.float32),
        event_start=0,
        event_stop=8000,
        cut="",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five clips, of 1 to 5 hours ago."""
    folder = tmp_path / "clips"
    prepare(folder)
    for hours_ago in (3, 1, 5, 2, 4):
        assert save(folder, clip(hours_ago))
    return folder


def hours_left(folder: Path) -> list[int]:
    clips = stored_clips(folder)
    pictures = {path.stem for path in folder.glob("*.png")}
    assert pictures == {each.sound.stem for each in clips}
    return [round((NOW - each.ends) / timedelta(hours=1)) for each in clips]


def settings(**limits: Any) -> ClipSettings:
    return ClipSettings.model_validate(limits)


def test_nothing_is_deleted_within_the_limits(folder: Path) -> None:
    assert clean(folder, settings(), NOW) == 0
    assert hours_left(folder) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ({"max_count": 2}, [2, 1]),
        ({"max_age_days": 3.5 / 24}, [3, 2, 1]),
        ({"max_count": 4, "max_age_days": 1.5 / 24}, [1]),
    ],
)
def test_the_oldest_are_deleted_beyond_a_limit(
    folder: Path, limit: dict[str, Any], left: list[int]
) -> None:
    assert clean(folder, settings(**limit), NOW) == 5 - len(left)
    assert hours_left(folder) == left


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ({"max_count": 2}, [5, 3, 2, 1]),
        ({"max_age_days": 1.5 / 24}, [5, 3, 1]),
        ({"max_total_mib": 0.000001}, [5, 3]),
    ],
)
def test_clips_of_locked_events_stay_and_do_not_count(
    folder: Path, limit: dict[str, Any], left: list[int]
) -> None:
    locked = {"session-street-5", "session-street-3", "gone"}
    assert clean(folder, settings(**limit), NOW, locked) == 5 - len(left)
    assert hours_left(folder) == left


def test_the_size_counts_sound_and_picture(folder: Path) -> None:
    size = stored_clips(folder)[0].size
    sizes = {path.stat().st_size for path in folder.glob("*.*")}
    assert size == sum(sizes)
    most = (3 * size + 10) / 1024 / 1024
    clean(folder, settings(max_total_mib=most), NOW)
    assert hours_left(folder) == [3, 2, 1]


@pytest.mark.parametrize(
    ("since_hours", "left"),
    [(None, []), (2.5, [5, 4, 3]), (0.5, [5, 4, 3, 2, 1]), (99, [])],
)
def test_forgotten_clips_are_deleted(
    folder: Path, since_hours: float | None, left: list[int]
) -> None:
    since = None if since_hours is None else NOW - timedelta(hours=since_hours)
    assert forget(folder, since, UPTIME) == 5 - len(left)
    assert hours_left(folder) == left


def test_a_clip_in_the_memory_of_a_monitor_is_forgotten_too(folder: Path) -> None:
    forget(folder, NOW - timedelta(hours=2.5), UPTIME)
    assert save(folder, clip(1)) is None
    assert save(folder, clip(4.5))
    assert save(folder, clip(-0.1))
    forget(folder, None, UPTIME)
    assert save(folder, clip(9)) is None
    assert save(folder, clip(-0.1))
    assert [each.sound.stat().st_mode & 0o777 for each in stored_clips(folder)] == [
        0o600
    ]


def test_a_clock_that_was_ahead_forgets_no_clip_of_later(folder: Path) -> None:
    forget(folder, None, UPTIME)
    later = replace(clip(400 * 24), captured=UPTIME + 1)
    assert save(folder, later)


def test_the_mark_of_an_earlier_boot_forgets_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock begins again at a small number."""
    forget(folder, None, UPTIME)
    monkeypatch.setattr("monitor.sinks.clip_files.boot_id", lambda: "another")
    assert save(folder, replace(clip(0), captured=10.0))


def test_a_pipe_in_place_of_the_mark_forgets_nothing(folder: Path) -> None:
    os.mkfifo(folder / FORGOTTEN)
    assert save(folder, clip(1))


def test_other_files_are_kept(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    forget(folder, None, UPTIME)
    assert (folder / "notes.txt").exists()


def test_a_missing_folder_is_no_error(tmp_path: Path) -> None:
    assert forget(tmp_path / "none", None, UPTIME) == 0
    assert clean(tmp_path / "none", settings(), NOW) == 0
    assert not (tmp_path / "none").exists()


def test_incomplete_files_of_a_killed_monitor_are_deleted(folder: Path) -> None:
    (folder / ".2026_street_siren.flac.partial").write_bytes(b"x")
    prepare(folder)
    assert not list(folder.glob(".*.partial"))


def test_a_link_in_the_place_of_a_clip_is_not_followed(folder: Path) -> None:
    target = folder.parent / "precious"
    target.write_text("mine")
    name = f"{clip(7).name}.flac"
    (folder / name).symlink_to(target)
    (folder / f".{clip(7).name}.png.partial").symlink_to(target)
    with pytest.raises(FileExistsError):
        save(folder, clip(7))
    assert save(folder, clip(7))
    assert target.read_text() == "mine"
    assert not (folder / name).is_symlink()
