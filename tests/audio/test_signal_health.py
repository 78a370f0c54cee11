"""What is told of a microphone by its samples."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.signal_health import Latch
from monitor.audio.sources.demo import render_scene
from monitor.config.audio import HealthSettings
from tests.support.health import (
    CLEAR,
    HOLD,
    RATE,
    as_16_bit,
    examine,
    examine_blocks,
    judge,
    outline,
)
from tests.support.signals import Samples, cut, noise, silence, sine

ILL = 6.0
"""Seconds for which a signal is ill, between two that are well."""


def well(seconds: float = 6.0, channels: int = 1) -> Samples:
    return as_16_bit(noise(seconds, 0.05, RATE, channels))


def one_channel(ill: Samples) -> Samples:
    return np.concatenate([well(ILL), ill])


ILLS = {
    "clipping": as_16_bit(noise(ILL, 0.1, RATE), gain=20),
    "dc-offset": as_16_bit(well(ILL) + np.float32(0.2)),
    "dead-channel": one_channel(silence(ILL, RATE)),
    "stuck-channel": one_channel(silence(ILL, RATE) - np.float32(0.25)),
    "digital-silence": silence(ILL, RATE, 2),
}


@pytest.mark.parametrize("kind", ILLS)
def test_each_kind_is_raised_alone_and_cleared(kind: str) -> None:
    """Raised after the hold time, from where it began; cleared where it ended."""
    ill = ILLS[kind]
    before, after = well(channels=len(ill)), well(10, len(ill))
    raised, cleared = examine(before, ill, after)
    assert outline([raised]) == [(kind, "raised", 6.0, 6.0 + HOLD)]
    assert outline([cleared]) == [(kind, "cleared", 6.0, 12.0)]
    assert raised.id == cleared.id
    assert raised.detail


@pytest.mark.parametrize("kind", ILLS)
def test_what_is_shorter_than_the_hold_time_is_not_told(kind: str) -> None:
    ill = ILLS[kind][:, : round((HOLD - 0.5) * RATE)]
    assert examine(well(channels=len(ill)), ill, well(10, len(ill))) == []


@pytest.mark.parametrize("kind", ILLS)
def test_what_comes_again_before_the_clear_time_is_still_the_same(kind: str) -> None:
    ill = ILLS[kind]
    pause = well(CLEAR - 0.5, len(ill))
    told = examine(*[ill, pause] * 5, well(10, len(ill)))
    assert [record.state for record in told] == ["raised", "cleared"]
    assert told[-1].stop == round((5 * ILL + 4 * (CLEAR - 0.5)) * RATE)


@given(st.lists(st.integers(1, 3 * RATE), max_size=30), st.sampled_from(sorted(ILLS)))
@settings(deadline=None, max_examples=40)
def test_the_sizes_of_the_blocks_do_not_matter(sizes: list[int], kind: str) -> None:
    ill = ILLS[kind]
    sound = np.concatenate([well(3, len(ill)), ill, well(10, len(ill))], axis=1)
    assert examine_blocks(cut(sound, sizes)) == examine(sound)


def test_a_low_tone_at_full_scale_is_not_clipped() -> None:
    """Rounded to 16 bits, its tops are flat for some samples as well."""
    for rate in (RATE, 44_100, 48_000):
        for hertz in (20, 31.5, 50, 63, 100, 440, 1000):
            for amplitude in (1.0, 0.9886):
                tone = as_16_bit(sine(hertz, 6, amplitude, rate))
                assert examine(tone, rate=rate) == []


@pytest.mark.parametrize("hertz", [50, 440, 1000])
def test_a_tone_of_twice_full_scale_is_clipped(hertz: float) -> None:
    tone = as_16_bit(sine(hertz, 6, 2.0, 44_100))
    assert [it.kind for it in examine(tone, rate=44_100)] == ["clipping"]


def test_loud_music_just_below_full_scale_is_not_clipped() -> None:
    """As the loudest recordings are: peaks at -0.1 dBFS, squeezed by a limiter."""
    seconds = np.arange(20 * 44_100) / 44_100
    music = sum(
        np.sin(2 * np.pi * hertz * seconds + hertz)
        for hertz in (55, 110, 165, 220, 277.2, 330, 440, 554.4, 880)
    )
    squeezed = np.tanh(1.5 * music)
    loud = squeezed / np.abs(squeezed).max() * 10 ** (-0.1 / 20)
    assert examine(as_16_bit(loud[np.newaxis].astype(np.float32)), rate=44_100) == []


def test_a_float_source_may_go_beyond_full_scale() -> None:
    assert examine(noise(10, 0.8, RATE)) == []


def test_a_bang_now_and_then_is_not_clipping_but_every_second_one_is() -> None:
    """One half of a second in ten is forgiven for ever; one in four is not."""
    bang = ILLS["clipping"][:, : RATE // 2]
    assert examine(*[bang, well(9.5)] * 30) == []
    told = examine(*[bang, well(1.5)] * 30)
    assert [it.state for it in told] == ["raised"]


def test_a_quiet_night_is_well() -> None:
    """Noise of a few steps of 16 bits, also where most samples are zero."""
    for rms in (0.3, 1.0, 3.0):
        assert examine(as_16_bit(noise(120, rms * 2**-15, RATE))) == []


def hours_of_street() -> Iterator[Samples]:
    """Two hours of the synthetic street, each minute at another level."""
    scene = render_scene(RATE)
    for minute in range(120):
        yield as_16_bit(scene, 0.2 + (minute % 7) / 7)


def test_hours_of_an_ordinary_street_raise_nothing() -> None:
    assert examine_blocks(list(hours_of_street())) == []


def test_an_offset_that_hovers_at_the_limit_does_not_chatter() -> None:
    steps = [well(3) + np.float32(offset) for offset in (0.055, 0.045) * 10]
    assert [it.state for it in examine(*steps)] == ["raised"]


def test_in_a_recording_silence_is_no_news_but_clipping_is() -> None:
    padded = [silence(30, RATE), ILLS["clipping"], silence(30, RATE)]
    told = examine(*padded, by=judge(live=False))
    assert {it.kind for it in told} == {"clipping"}


def test_a_kind_that_is_ignored_is_not_told() -> None:
    ignoring = judge(HealthSettings(hold_seconds=HOLD, ignore=("dead-channel",)))
    assert examine(ILLS["dead-channel"], well(6, 2), by=ignoring) == []


def test_at_the_end_what_is_raised_is_cleared_and_says_why() -> None:
    ending = judge()
    (raised,) = examine(ILLS["clipping"], by=ending)
    (cleared,) = ending.finish("the monitor was stopped")
    assert cleared.id == raised.id
    assert cleared.detail == "the monitor was stopped"
    assert cleared.stop == round(ILL * RATE)
    assert ending.finish("the monitor was stopped") == []


def test_at_the_end_what_had_gone_ends_where_it_went() -> None:
    ending = judge()
    examine(ILLS["clipping"], well(CLEAR - 1), by=ending)
    (cleared,) = ending.finish("the recording is over")
    assert cleared.stop == round(ILL * RATE)


def test_a_gap_makes_nothing_longer() -> None:
    """What lasted a moment before and a moment after was not there in between."""
    latch = Latch()
    assert latch.push(0, 10, True, hold=15, clear=10) is None
    latch.interrupt()
    assert latch.push(1000, 1010, True, hold=15, clear=10) is None
    assert latch.push(1010, 1020, True, hold=15, clear=10) == "raised"
    assert latch.start == 1000


def test_settings_of_a_reload_hold_from_then_on() -> None:
    changed = judge(HealthSettings(hold_seconds=60, clear_seconds=60))
    assert examine(ILLS["clipping"], by=changed) == []
    changed.adopt(HealthSettings(hold_seconds=1, clear_seconds=60))
    assert [it.kind for it in examine(ILLS["clipping"], by=changed)] == ["clipping"]
