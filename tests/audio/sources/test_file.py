"""Recordings are read whole, at their own pace or at once; faults are one sentence."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.audio.ring import Samples
from monitor.audio.sources.demo import SCENE_SECONDS, render_scene
from monitor.audio.sources.file import Demo, File, RecordingStream
from monitor.audio.sources.source import Speed
from monitor.errors import (
    EndOfSourceError,
    SoundMonitorError,
    UsageError,
)
from tests.support.clock import FakeClock
from tests.support.signals import chirp, numbered

RATE = 16_000
SCENE_RATE = 8_000
SOUND = chirp(2.3, highest=7_000, sample_rate=RATE, channels=2)


def write(path: Path, samples: Samples = SOUND, **options: str) -> Path:
    soundfile.write(path, samples.T, RATE, **options)
    return path


def file(path: Path) -> File:
    return File(str(path), "max", FakeClock().monotonic)


def test_a_file_knows_its_rate_and_channels_when_it_is_open(tmp_path: Path) -> None:
    with closing(file(write(tmp_path / "a.wav")).open()) as stream:
        assert (stream.sample_rate, stream.channels) == (RATE, 2)


def test_a_file_can_be_played_again(tmp_path: Path) -> None:
    source = file(write(tmp_path / "a.wav"))
    for _ in range(2):
        with closing(source.open()) as stream:
            block = stream.read(0)
        assert block is not None
        np.testing.assert_allclose(block[:, 0], SOUND[:, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("~nobody-has-this-name/x.wav", "home directory"),
        ("x" * 5000, "File name too long"),
        ("/dev/null/x.wav", "there is no such file"),
        ("a\udc80\ud800", "surrogates not allowed"),
    ],
)
def test_an_impossible_name_is_wrong_usage(path: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        File(path, "max", FakeClock().monotonic)


def test_a_file_that_vanished_after_the_check_is_an_error(tmp_path: Path) -> None:
    source = file(write(tmp_path / "a.wav"))
    (tmp_path / "a.wav").unlink()
    with pytest.raises(SoundMonitorError, match="no such file"):
        source.open()


def read_all(stream: RecordingStream) -> Samples:
    """Everything until the end, at full speed."""
    blocks = []
    try:
        while (block := stream.read(1.0)) is not None:
            blocks.append(block)
    except EndOfSourceError:
        return np.concatenate(blocks, axis=1)
    raise AssertionError("a recording at full speed has no pauses")


def playing(samples: Samples, speed: Speed, clock: FakeClock) -> RecordingStream:
    position = 0

    def read_block(count: int) -> Samples:
        nonlocal position
        position += count
        return samples[:, position - count : position]

    return RecordingStream(
        read_block,
        lambda: None,
        sample_rate=SCENE_RATE,
        channels=samples.shape[0],
        speed=speed,
        now=clock.monotonic,
        sleep=clock.advance,
    )


def test_no_sample_comes_before_it_is_due_and_none_much_later() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, 10 * SCENE_RATE), "realtime", clock)
    stream.read(0)  # begins to play
    began = clock.monotonic()
    position = 0
    while position < 10 * SCENE_RATE:
        block = stream.read(0.03)
        if block is not None:
            position += block.shape[1]
        due = (clock.monotonic() - began) * SCENE_RATE
        assert position - 1e-3 <= due <= position + 0.15 * SCENE_RATE


def test_waiting_takes_no_longer_than_allowed() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, SCENE_RATE), "realtime", clock)
    before = clock.monotonic()
    assert stream.read(0.01) is None
    assert clock.monotonic() - before == pytest.approx(0.01)


def test_a_late_reader_catches_up() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, 10 * SCENE_RATE), "realtime", clock)
    stream.read(0)
    clock.advance(3.0)
    blocks = []
    while (block := stream.read(0)) is not None:
        blocks.append(block)
    samples = np.concatenate(blocks, axis=1)
    np.testing.assert_array_equal(samples, numbered(0, 3 * SCENE_RATE))


def test_at_full_speed_no_time_passes() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, 10 * SCENE_RATE + 5, 2), "max", clock)
    before = clock.monotonic()
    samples = read_all(stream)
    assert clock.monotonic() == before
    np.testing.assert_array_equal(samples, numbered(0, 10 * SCENE_RATE + 5, 2))


def test_the_demo_plays_the_scene_once() -> None:
    demo = Demo(SCENE_RATE, "max", FakeClock().monotonic)
    with closing(demo.open()) as stream:
        samples = read_all(stream)
        assert (stream.sample_rate, stream.channels) == (SCENE_RATE, 1)
    assert samples.shape == (1, round(SCENE_SECONDS * SCENE_RATE))
    np.testing.assert_array_equal(samples, render_scene(SCENE_RATE))
