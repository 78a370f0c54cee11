"""Clips of events, from a real timeline to real files."""

import logging
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from monitor.audio.timeline import Timeline
from monitor.config.outputs import ClipSettings
from monitor.records import Event, Onset, Timed
from monitor.sinks.clips import Clips
from monitor.sinks.store.reviews import write_lock
from tests.support.clock import FakeClock, wait_until
from tests.support.store import make_store
from tests.support.timed import OPENED, SAMPLE_RATE, event, onset, statistics, timed

RING_SECONDS = 20.0


class ClipSource:
    """A source whose samples are the number of their second; the sink of its clips."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder / "clips"
        self.timeline = Timeline("street", SAMPLE_RATE, RING_SECONDS)
        self.timeline.open(1)
        self.clock = FakeClock()
        self.health: list[tuple[str, str]] = []
        section = {"min_free_mib": 0, **settings}
        self.sink = Clips(
            ClipSettings.model_validate(section),
            self.folder,
            {"street": self.timeline},
            SAMPLE_RATE,
            self.clock,
            folder / "monitor.db",
            lambda kind, detail: self.health.append((kind, detail)),
        )
        self.sink.report(statistics("street"))

    def sound(self, seconds: int) -> None:
        for _ in range(seconds):
            second = self.timeline.stop // SAMPLE_RATE
            block = np.full((1, SAMPLE_RATE), second / 128, np.float32)
            self.timeline.write(block, float(second))
            self.sink.report(statistics("street"))

    def wait_for(self, count: int) -> list[Path]:
        wait_until(lambda: len(list(self.folder.glob("*.flac"))) >= count)
        return sorted(self.folder.glob("*.flac"))


@pytest.fixture
def clips(tmp_path: Path) -> Iterator[ClipSource]:
    source = ClipSource(tmp_path)
    yield source
    source.sink.close()


def seconds_in(file: Path) -> list[int]:
    """Which seconds of the source are in a clip."""
    samples, rate = soundfile.read(file, dtype="float32")
    assert rate == SAMPLE_RATE
    found = np.round(samples[SAMPLE_RATE // 2 :: SAMPLE_RATE] * 128).astype(int)
    return [int(second) for second in found]


def ends(start_seconds: float, seconds: float, **fields: Any) -> Timed:
    return event(start_seconds=start_seconds, seconds=seconds, **fields)


def test_a_clip_has_the_event_and_the_seconds_around_it(clips: ClipSource) -> None:
    clips.sound(12)
    clips.sink.write([onset(start_seconds=5)])
    clips.sink.write([ends(5, 6)])
    assert not clips.folder.exists()
    clips.sound(1)
    (file,) = clips.wait_for(1)
    assert seconds_in(file) == list(range(3, 13))
    assert file.name == "2026-11-23T05-56-03.000Z_street_siren.flac"
    picture = file.with_suffix(".png")
    for each in (file, picture):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    assert stat.S_IMODE(clips.folder.stat().st_mode) == 0o700
    assert file.stat().st_mtime == (OPENED + timedelta(seconds=13)).timestamp()
    with Image.open(picture) as image:
        image.load()
        assert image.size == (1000, 256)
    with soundfile.SoundFile(file) as sound:
        assert sound.title == "siren at street"
        assert sound.comment == "event session-street-1"


def test_only_the_first_part_of_a_long_event_is_stored_and_that_is_logged(
    clips: ClipSource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clips.sound(4)
    clips.sink.write([onset(start_seconds=2)])
    clips.sound(30)
    (file,) = clips.wait_for(1)
    assert seconds_in(file) == list(range(14))
    clips.sink.write([ends(2, 31)])
    clips.sound(5)
    clips.sink.close()
    assert len(clips.wait_for(1)) == 1
    assert "the event is longer than the clip" in caplog.text
    assert "overwritten" not in caplog.text
    with soundfile.SoundFile(file) as sound:
        assert sound.comment.endswith("; the event is longer than the clip")


def test_overwritten_audio_is_missing_and_that_is_logged(
    clips: ClipSource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clips.sound(28)
    clips.sink.write([ends(5, 6)])  # reported far too late: the ring begins at 8 s
    (file,) = clips.wait_for(1)
    clips.sink.close()  # the message follows the file
    assert seconds_in(file) == list(range(8, 13))
    assert "had been overwritten" in caplog.text


def test_the_captured_part_of_an_event_is_stored_when_its_source_breaks(
    clips: ClipSource,
) -> None:
    clips.sound(8)
    clips.sink.write([ends(5, 3)])
    clips.sink.report(statistics("street", state="waiting"))
    (file,) = clips.wait_for(1)
    assert seconds_in(file) == list(range(3, 8))


def test_at_the_end_the_captured_part_is_stored(clips: ClipSource) -> None:
    clips.sound(8)
    clips.sink.write([ends(5, 3)])
    clips.sink.close()
    assert len(clips.wait_for(1)) == 1


def test_old_clips_are_deleted_once_the_clock_is_believed(tmp_path: Path) -> None:
    """The clock is twelve days after the last clip: it may be wrong."""
    clips = ClipSource(tmp_path)
    clips.sound(12)
    clips.sink.write([ends(4, 2)])
    (old,) = clips.wait_for(1)
    clips.sink.close()
    then = (clips.clock.wall - timedelta(days=12)).timestamp()
    os.utime(old, (then, then))
    clips = ClipSource(tmp_path)
    clips.sound(12)
    clips.sink.write([replace(ends(5, 2), start_utc=clips.clock.wall)])
    wait_until(lambda: len(clips.wait_for(1)) == 2)
    assert old.exists()
    clips.clock.advance(2.9 * 86_400)
    clips.sink.write([replace(ends(3, 2), start_utc=clips.clock.wall)])
    wait_until(lambda: len(clips.wait_for(1)) == 3)
    assert old.exists()
    clips.clock.advance(0.1 * 86_400)
    wait_until(lambda: not old.exists())
    clips.sink.close()
    assert len(clips.wait_for(1)) == 2


def test_only_clips_of_the_wanted_labels_are_stored(tmp_path: Path) -> None:
    clips = ClipSource(tmp_path, labels=["siren"])
    clips.sound(12)
    clips.sink.write([ends(5, 2, label="dog_bark", number=2), ends(4, 2)])
    clips.sink.close()
    (file,) = clips.wait_for(1)
    assert file.stem.endswith("_siren")


def test_an_event_of_an_earlier_run_has_no_clip(clips: ClipSource) -> None:
    clips.sound(12)
    over = ends(5, 2)
    assert isinstance(over.record, Event)
    interrupted = replace(over.record, end_reason="interrupted")
    clips.sink.write([replace(over, record=interrupted)])
    clips.sink.close()
    assert not clips.folder.exists()


def test_a_recording_whose_time_is_unknown_has_no_clips(clips: ClipSource) -> None:
    clips.sound(12)
    clips.sink.write([ends(5, 2, opened=None)])
    clips.sink.close()
    assert not clips.folder.exists()


def test_the_name_of_a_label_cannot_lead_out_of_the_folder(clips: ClipSource) -> None:
    clips.sound(12)
    clips.sink.write([ends(5, 2, label="../../etc/pass wd")])
    (file,) = clips.wait_for(1)
    assert file.name == "2026-11-23T05-56-03.000Z_street_-etc-pass-wd.flac"


def test_the_worker_never_waits_for_the_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = ClipSource(tmp_path)
    clips.sound(12)
    clips.sink._thread.finish(5)  # a disk that hangs
    clips.sink.write([ends(5, 0.5, number=n) for n in range(20)])
    assert caplog.text.count("clips are dropped") == 1
    assert clips.sink.queues == {"clips": 4}


def test_without_free_space_no_clip_is_stored_and_that_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = ClipSource(tmp_path, min_free_mib=1_000_000)
    clips.sound(12)
    clips.sink.write([ends(5, 1)])
    wait_until(lambda: "less than" in caplog.text)
    clips.sink.write([ends(6, 1, number=2)])
    clips.sink.close()
    assert caplog.text.count("less than 1e+06 MiB") == 1
    assert list(clips.folder.iterdir()) == []
    full = "the disk has less than 1e+06 MiB of free space"
    assert [it for kind, it in clips.health if kind == "clips"] == [full, full, ""]


def test_a_folder_that_cannot_be_created_is_logged_and_monitoring_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "clips").write_text("a file")
    clips = ClipSource(tmp_path)
    clips.sound(12)
    clips.sink.write([ends(5, 1)])
    wait_until(lambda: "clips cannot be stored" in caplog.text)
    clips.sound(1)
    clips.sink.close()


@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_is_bright_where_it_sounds(tmp_path: Path, channels: int) -> None:
    clips = ClipSource(tmp_path, before_seconds=1, after_seconds=1)
    clips.timeline.open(channels)
    seconds = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    tone = 0.5 * np.sin(2 * math.pi * 1000 * seconds) * ((seconds > 1) & (seconds < 3))
    clips.timeline.write(np.tile(tone.astype(np.float32), (channels, 1)), 4.0)
    clips.sink.write([ends(1, 2)])
    clips.sink.close()
    (file,) = clips.wait_for(1)
    with Image.open(file.with_suffix(".png")) as image:
        pixels = np.asarray(image)
    expected = 255 - 255 * math.log(1000 / 50) / math.log(SAMPLE_RATE / 2 / 50)
    assert abs(int(pixels[:, 200].argmax()) - expected) <= 2
    assert pixels[:, 50].max() == 0
    assert (pixels[::-1][::2, 100] == 255).all()
    assert file.stat().st_size < 400_000


def test_an_onset_whose_event_comes_at_once_gives_one_clip(clips: ClipSource) -> None:
    clips.sound(12)
    begun, over = onset(start_seconds=5), ends(5, 2)
    assert isinstance(begun.record, Onset)
    assert isinstance(over.record, Event)
    moved = timed(replace(over.record, start=over.record.start + 1000))
    clips.sink.write([begun, moved])
    clips.sink.close()
    assert len(clips.wait_for(1)) == 1


def test_the_clip_of_an_event_that_was_locked_stays(tmp_path: Path) -> None:
    first, second = ends(5, 1, number=1), ends(8, 1, number=2)
    store = make_store(tmp_path / "monitor.db")
    store.write([first])
    ids = [first.record.id]
    store.change(lambda it: write_lock(it, ids, locked=True, now=OPENED))
    clips = ClipSource(tmp_path, max_count=1)
    clips.sound(14)
    clips.sink.write([first])
    (kept,) = clips.wait_for(1)
    clips.sink.write([second])
    (_, old) = clips.wait_for(2)
    clips.sink.write([ends(9, 1, number=3)])
    wait_until(lambda: not old.exists())
    # A database that is gone unlocks no clip, and suspends no limit.
    store.close()
    (tmp_path / "monitor.db").unlink()
    (old,) = {*clips.wait_for(2)} - {kept}
    clips.sink.write([ends(10, 1, number=4)])
    wait_until(lambda: not old.exists())
    clips.sink.close()
    assert kept.exists()


def test_no_clip_is_deleted_while_it_is_unknown_which_are_locked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "monitor.db").write_bytes(b"no database" * 1000)
    clips = ClipSource(tmp_path, max_count=1)
    clips.sound(14)
    for number in (1, 2):
        clips.sink.write([ends(4 + number, 1, number=number)])
        clips.wait_for(number)
    clips.sink.close()
    assert len(clips.wait_for(2)) == 2
    (warning,) = (it for it in caplog.messages if it.startswith("new locks of clips"))
    assert "is not a database" in warning


def test_locked_clips_beyond_the_limit_are_said_and_new_ones_still_stored(
    tmp_path: Path,
) -> None:
    first, second = ends(5, 1, number=1), ends(8, 1, number=2)
    store = make_store(tmp_path / "monitor.db")
    store.write([first])
    ids = [first.record.id]
    clips = ClipSource(tmp_path, max_total_mib=0.1)
    clips.sound(14)
    store.change(lambda it: write_lock(it, ids, locked=True, now=OPENED))
    for each in (first, second):
        clips.sink.write([each])
        clips.wait_for(1)
    big = clips.wait_for(1)[0]
    with big.open("ab") as file:
        file.write(bytes(200_000))
    clips.sink.write([ends(9, 1, number=3)])
    wait_until(lambda: any(kind == "locked-clips" and it for kind, it in clips.health))
    assert len(clips.wait_for(3)) == 3
    store.change(lambda it: write_lock(it, ids, locked=False, now=OPENED))
    clips.sink.write([ends(10, 1, number=4)])
    wait_until(lambda: not big.exists())
    clips.sink.close()
    store.close()
    said = [it for kind, it in clips.health if kind == "locked-clips" and it]
    assert "of locked events alone exceed clips.max_total_mib: 0.1;" in said[0]
    assert clips.health[-1] == ("locked-clips", "")
