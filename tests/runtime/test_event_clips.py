"""The clips of events are found by the ids of these."""

from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config.outputs import ClipSettings
from monitor.errors import UsageError
from monitor.runtime.event_clips import clip_at, clips_of_events
from monitor.sinks.clip_files import Clip, save
from tests.support.doorbell import doorbell
from tests.support.timed import OPENED

RATE = 16_000
SETTINGS = ClipSettings()
IDS = ("1f0c2ab3-0001", "1f0c2ab3-0002", "77d01e5c-0003")


def kept_clips(folder: Path) -> Path:
    folder.mkdir()
    for number, event_id in enumerate(IDS):
        begins = OPENED + timedelta(minutes=number)
        ring = doorbell("hall", 1.0, RATE, number, seconds=6.0)
        clip = Clip(
            event_id,
            "door",
            "unknown",
            begins,
            0.0,
            RATE,
            ring[None],
            2 * RATE,
            4 * RATE,
            "cut" * number,
        )
        save(folder, clip)
    return folder


def test_a_clip_is_found_by_its_event_without_the_sound_around(tmp_path: Path) -> None:
    found = clips_of_events(kept_clips(tmp_path / "c"), SETTINGS, [IDS[0], "77d01e5c"])
    assert [(clip.start_seconds, clip.stop_seconds) for clip in found.clips] == [
        (2.0, 4.0),
        (2.0, 4.0),
    ]
    end = OPENED + timedelta(minutes=2, seconds=4)
    assert found.newest_event_seconds == pytest.approx(end.timestamp(), abs=0.01)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("1f0c2ab3", "is the start of 2 ids"),
        ("abcdef01", "no clip of an event 'abcdef01' was kept"),
        ("1f0", "'1f0' is too short"),
    ],
)
def test_an_id_that_names_no_clip_is_rejected(
    tmp_path: Path, wanted: str, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        clips_of_events(kept_clips(tmp_path / "c"), SETTINGS, [wanted])


def test_a_file_that_is_no_clip_is_passed_over(tmp_path: Path) -> None:
    folder = kept_clips(tmp_path / "c")
    (folder / "x.flac").write_bytes(b"fLaC")
    assert len(clips_of_events(folder, SETTINGS, [IDS[2]]).clips) == 1


def test_the_clip_of_a_moment_is_found(tmp_path: Path) -> None:
    folder = kept_clips(tmp_path / "c")
    inside = clip_at(folder, OPENED + timedelta(minutes=1, seconds=3))
    assert inside is not None
    assert inside.name.startswith("2026")
    assert clip_at(folder, OPENED + timedelta(minutes=1, seconds=30)) is None
