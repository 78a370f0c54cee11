"""A recording is played at its own pace, or as fast as it is taken."""

from contextlib import closing

import numpy as np
import pytest

from monitor.audio.ring import Samples
from monitor.audio.sources.demo import SCENE_SECONDS, render_scene
from monitor.audio.sources.file import Demo, RecordingStream, Speed
from monitor.errors import EndOfSourceError
from tests.support.clock import FakeClock
from tests.support.signals import numbered

RATE = 8_000


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
        sample_rate=RATE,
        channels=samples.shape[0],
        speed=speed,
        now=clock.monotonic,
        sleep=clock.advance,
    )


def test_no_sample_comes_before_it_was_sound_and_none_much_later() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, 10 * RATE), "realtime", clock)
    stream.read(0)  # begins to play
    began = clock.monotonic()
    position = 0
    while position < 10 * RATE:
        block = stream.read(0.03)
        if block is not None:
            position += block.shape[1]
        sound = (clock.monotonic() - began) * RATE
        assert position - 1e-3 <= sound <= position + 0.15 * RATE


def test_waiting_takes_no_longer_than_allowed() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, RATE), "realtime", clock)
    before = clock.monotonic()
    assert stream.read(0.01) is None
    assert clock.monotonic() - before == pytest.approx(0.01)


def test_a_late_reader_catches_up() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, 10 * RATE), "realtime", clock)
    stream.read(0)
    clock.advance(3.0)
    blocks = []
    while (block := stream.read(0)) is not None:
        blocks.append(block)
    samples = np.concatenate(blocks, axis=1)
    np.testing.assert_array_equal(samples, numbered(0, 3 * RATE))


def test_at_full_speed_no_time_passes() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, 10 * RATE + 5, 2), "max", clock)
    before = clock.monotonic()
    samples = read_all(stream)
    assert clock.monotonic() == before
    np.testing.assert_array_equal(samples, numbered(0, 10 * RATE + 5, 2))


def test_the_demo_plays_the_scene_once() -> None:
    demo = Demo(RATE, "max", FakeClock().monotonic)
    assert not demo.live
    with closing(demo.open()) as stream:
        samples = read_all(stream)
        assert (stream.sample_rate, stream.channels) == (RATE, 1)
    assert samples.shape == (1, round(SCENE_SECONDS * RATE))
    np.testing.assert_array_equal(samples, render_scene(RATE))
