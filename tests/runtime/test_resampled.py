"""The windows of a model of another rate: the same sound, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.ring import Samples
from monitor.audio.timeline import Block
from monitor.audio.weighting import AWeighting
from monitor.model.frontend import LogMel
from monitor.model.networks.mn04 import SPEC as MN04
from monitor.runtime.resampled import ResampledWindow, ResampledWindows
from monitor.runtime.windowing import Windower, WindowGrid
from monitor.spec import ModelSpec
from tests.support.models import HOP_STRIDES
from tests.support.recordings import SMALL_SPEC
from tests.support.signals import RATE, click, cut, noise, sine

LEADING = ModelSpec()
STEP = HOP_STRIDES["mn04"]
MOST_DELAY = 0.15
"""Seconds from the end of a window to `stop`: of the resampler, and a step."""

FOLLOWER, LEADER = LogMel(MN04), LogMel(LEADING)
GRID = WindowGrid.of(LEADING, 48)
STOPS = [GRID.window(number)[1] for number in range(6)]


def windows_of(
    windows: ResampledWindows, blocks: list[Samples], start: int, stops: list[int]
) -> list[ResampledWindow | None]:
    """Push blocks from `start` on, and take the window of each stop once it is there.

    As a windower does: all of a block is pushed before the windows in it are taken.
    """
    found, position, pending = [], start, list(stops)
    for block in blocks:
        windows.push(block)
        position += block.shape[1]
        while pending and pending[0] <= position:
            found.append(windows.window(pending.pop(0)))
    assert not pending
    return found


def followed(
    blocks: list[Samples], start: int = 0, rate: int = RATE, log_mel: LogMel = FOLLOWER
) -> list[ResampledWindow | None]:
    windows = ResampledWindows(log_mel, rate, STEP)
    windows.begin_at(start, blocks[0].shape[0])
    return windows_of(windows, blocks, start, [start + stop for stop in STOPS])


def equal(one: ResampledWindow | None, other: ResampledWindow | None) -> bool:
    assert one is not None
    assert other is not None
    return np.array_equal(one.log_mel, other.log_mel) and (
        one.first_frame,
        one.start,
    ) == (other.first_frame, other.start)


SOUND = noise(STOPS[-1] / RATE + 0.1, 0.1) + sine(700, STOPS[-1] / RATE + 0.1, 0.2)


@given(sizes=st.lists(st.integers(0, 60_000), max_size=15))
@settings(max_examples=10, deadline=None)
def test_the_sizes_of_blocks_do_not_matter(sizes: list[int]) -> None:
    whole = followed([SOUND])
    assert all(map(equal, followed(cut(SOUND, sizes)), whole))


@pytest.mark.parametrize("size", [1, 64, 441, 44_100])
def test_nor_do_small_blocks_around_the_end_of_a_window(size: int) -> None:
    edge = STOPS[0] - 1000
    blocks = cut(SOUND, [edge, *[size] * (2000 // size)])
    assert all(map(equal, followed(blocks), followed([SOUND])))


@pytest.mark.parametrize(
    ("rate", "lower"),
    [
        (44_100, 32_000),
        (44_100, 22_050),
        (44_100, 16_000),
        (44_100, 8_000),
        (48_000, 44_100),
        (32_000, 16_000),
        (88_200, 8_000),
        (8_000, 4_000),
    ],
)
@pytest.mark.parametrize("size", [97, 333, 2205, 44_117])
def test_no_pair_of_rates_delays_a_window_beyond_its_end(
    rate: int, lower: int, size: int
) -> None:
    """The resampler's filter is longer in seconds the lower the rate."""
    changes = {"sample_rate": lower, "f_max": lower / 2, "window_frames": 16}
    spec = SMALL_SPEC.model_copy(update=changes)
    windows = ResampledWindows(LogMel(spec), rate, 4)
    sound = noise(2.0, sample_rate=rate)
    stops = list(range(rate, sound.shape[1], 997))
    found = windows_of(windows, cut(sound, [size] * (2 * rate // size)), 0, stops)
    for stop, window in zip(stops, found, strict=True):
        if window is not None:
            end = window.start + spec.window_samples * windows.ratio
            late = (stop - end) / rate * lower
            assert 0 <= late < 1_600 + 4 * spec.hop_length + 1
    assert found[-1] is not None


def test_a_window_holds_the_newest_sound_before_its_stop() -> None:
    spec, ratio = MN04, RATE / MN04.sample_rate
    for stop, window in zip(STOPS, followed([SOUND]), strict=True):
        assert window is not None
        end = window.start + spec.window_samples * ratio
        assert 0 <= stop - end <= MOST_DELAY * RATE
        assert window.first_frame % STEP == 0
        assert window.log_mel.shape == (1, spec.n_mels, spec.window_frames)


def test_what_comes_after_its_stop_changes_nothing() -> None:
    stop = STOPS[0]
    silent_after = SOUND.copy()
    silent_after[:, stop:] = 0
    one, other = followed([SOUND])[0], followed([silent_after])[0]
    assert equal(one, other)


@pytest.mark.parametrize("start", [0, 12_345])
@pytest.mark.parametrize("at_seconds", [1.0, 2.5, 3.7])
def test_a_sound_is_found_at_its_time(start: int, at_seconds: float) -> None:
    """To a frame: 10 ms, and half of one again for where the window stands in it."""
    seconds = STOPS[-1] / RATE
    (window, *_) = followed([click(seconds, at_seconds)], start)
    assert window is not None
    energy = (10 ** (window.log_mel[0] / 10)).sum(axis=0)
    centre = (np.arange(energy.size) * energy).sum() / energy.sum()
    samples = centre * MN04.hop_length + MN04.n_fft / 2
    found = (window.start - start) / RATE + samples / MN04.sample_rate
    assert found == pytest.approx(at_seconds, abs=0.015)


def test_a_window_is_that_of_the_whole_sound_resampled_at_once() -> None:
    """A sine far from the edges has the same log-mel as one made at the lower rate."""
    seconds = STOPS[-1] / RATE
    expected = LogMel(MN04)(sine(1000, seconds, 0.5, MN04.sample_rate))
    for window in followed([sine(1000, seconds, 0.5)]):
        assert window is not None
        band = int(expected[0, :, 100].argmax())
        assert (window.log_mel[0].argmax(axis=0) == band)[8:-8].all()
        difference = window.log_mel[0, band, 8:-8] - expected[0, band, 100]
        assert np.abs(difference).max() < 0.3


def test_after_a_gap_it_begins_anew() -> None:
    windows = ResampledWindows(FOLLOWER, RATE, STEP)
    (before,) = windows_of(windows, [SOUND[:, : STOPS[0]]], 0, STOPS[:1])
    start = STOPS[0] + 5 * RATE + 17
    windows.begin_at(start, 1)
    after = windows_of(windows, [SOUND], start, [start + stop for stop in STOPS])
    assert all(map(equal, after, followed([SOUND], start)))
    assert before is not None
    assert after[0] is not None
    assert after[0].history is not before.history
    assert after[0].start >= start
    # The same sound, elsewhere.
    (first, *_) = followed([SOUND])
    assert first is not None
    assert np.array_equal(after[0].log_mel, first.log_mel)


def test_there_is_no_window_before_enough_was_heard() -> None:
    windows = ResampledWindows(FOLLOWER, RATE, STEP)
    windows.push(SOUND)
    ratio = RATE / MN04.sample_rate
    needed = int((MN04.window_samples + 2_000) * ratio)
    assert windows.window(int(MN04.window_samples * ratio)) is None
    assert windows.window(needed) is not None


def windower() -> Windower:
    return Windower(
        LEADER,
        AWeighting(LEADING.sample_rate),
        GRID,
        0.0,
        [ResampledWindows(FOLLOWER, RATE, STEP)],
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_the_first_window_of_a_source_has_one_for_each_model(channels: int) -> None:
    sound = np.repeat(SOUND, channels, axis=0)
    first, *_ = windower().push(Block(0, sound))
    (other,) = first.others
    assert other is not None
    assert first.start <= other.start
    assert other.log_mel.shape[0] == 1  # its model takes one channel


def test_so_has_the_first_one_after_a_gap() -> None:
    found = windower()
    for window in found.push(Block(0, SOUND)):
        assert window.others[0] is not None
    start = SOUND.shape[1] + 54_321
    windows = found.push(Block(start, SOUND))
    assert windows
    for window in windows:
        (other,) = window.others
        assert other is not None
        assert start <= other.start
        end = other.start + MN04.window_samples * RATE / MN04.sample_rate
        assert end <= window.stop
