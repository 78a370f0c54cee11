"""The index of clips finds those that a monitor wrote."""

import os
from datetime import timedelta
from pathlib import Path
from time import time_ns

import pytest

from monitor.sinks.clip_files import prepare, save
from monitor.web.clip_index import ClipIndex
from tests.support.clips import identifier, make_clip
from tests.support.timed import OPENED


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    prepare(folder)
    save(folder, make_clip(5))
    return folder


def test_files_that_no_monitor_wrote_are_no_clips(clips: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    good = min(clips.glob("*.flac"))
    secret.write_bytes(good.read_bytes())
    content = good.read_bytes()
    good.unlink()
    starts = OPENED + timedelta(seconds=50)
    index = ClipIndex(clips)
    find = (identifier(5), "street", starts)
    good.symlink_to(secret)
    assert index.find(*find) is None
    good.unlink()
    for size in (0, 3, 20, 60, 110):
        good.write_bytes(content[:size])
        assert ClipIndex(clips).find(*find) is None
    good.write_bytes(content)
    assert ClipIndex(clips).find(*find) is not None


def test_a_clip_is_found_whose_folder_seems_unchanged(clips: Path) -> None:
    """The time of a folder is coarse."""
    good = min(clips.glob("*.flac"))
    content = good.read_bytes()
    good.unlink()
    index = ClipIndex(clips)
    find = (identifier(5), "street", OPENED + timedelta(seconds=50))
    now = time_ns()
    os.utime(clips, ns=(now, now))
    assert index.find(*find) is None
    good.write_bytes(content)
    os.utime(clips, ns=(now, now))
    assert index.find(*find) is not None
