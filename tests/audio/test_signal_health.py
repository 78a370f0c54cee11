"""Faults of a microphone are found in its samples, and in its noise floor."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.signal_health import Debouncer, SignalHealth
from monitor.audio.signal_statistics import ChannelStatistics, SignalStatistics
from monitor.audio.sources.demo import render_scene
from monitor.config.audio import HealthSettings
from monitor.records import Health, ScoreFrame
from tests.support.health import (
    CLEAR,
    GATE_DBFS,
    HOLD,
    RATE,
    as_16_bit,
    examine,
    examine_blocks,
    hop,
    outline,
    signal_health,
)
from tests.support.signals import Samples, cut, noise, silence, sine

MINUTE = 60
HOP_SECONDS = 2.0
"""Longer than that of the monitor, so that days pass in a second."""

FAULT_SECONDS = 6.0
"""Duration of a fault between two good signals."""


def good(seconds: float = 6.0, channels: int = 1) -> Samples:
    return as_16_bit(noise(seconds, 0.05, RATE, channels))


def one_channel(faulty: Samples) -> Samples:
    return np.concatenate([good(FAULT_SECONDS), faulty])


FAULTS = {
    "clipping": as_16_bit(noise(FAULT_SECONDS, 0.1, RATE), gain=20),
    "dc-offset": as_16_bit(good(FAULT_SECONDS) + np.float32(0.2)),
    "dead-channel": one_channel(silence(FAULT_SECONDS, RATE)),
    "stuck-channel": one_channel(silence(FAULT_SECONDS, RATE) - np.float32(0.25)),
    "digital-silence": silence(FAULT_SECONDS, RATE, 2),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_kind_is_raised_alone_and_cleared(kind: str) -> None:
    """Raised after the hold time, from where it began; cleared where it ended."""
    faulty = FAULTS[kind]
    before, after = good(channels=len(faulty)), good(10, len(faulty))
    raised, cleared = examine(before, faulty, after)
    assert outline([raised]) == [(kind, "raised", 6.0, 6.0 + HOLD)]
    assert outline([cleared]) == [(kind, "cleared", 6.0, 12.0)]
    assert raised.id == cleared.id
    assert raised.detail


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_shorter_than_the_hold_time_is_not_reported(kind: str) -> None:
    faulty = FAULTS[kind][:, : round((HOLD - 0.5) * RATE)]
    assert examine(good(channels=len(faulty)), faulty, good(10, len(faulty))) == []


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_that_returns_before_the_clear_time_is_the_same(kind: str) -> None:
    faulty = FAULTS[kind]
    pause = good(CLEAR - 0.5, len(faulty))
    records = examine(*[faulty, pause] * 5, good(10, len(faulty)))
    assert [record.state for record in records] == ["raised", "cleared"]
    assert records[-1].stop == round((5 * FAULT_SECONDS + 4 * (CLEAR - 0.5)) * RATE)


@given(st.lists(st.integers(1, 3 * RATE), max_size=30), st.sampled_from(sorted(FAULTS)))
@settings(deadline=None, max_examples=40)
def test_the_sizes_of_the_blocks_do_not_matter(sizes: list[int], kind: str) -> None:
    faulty = FAULTS[kind]
    sound = np.concatenate(
        [good(3, len(faulty)), faulty, good(10, len(faulty))], axis=1
    )
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
    bang = FAULTS["clipping"][:, : RATE // 2]
    assert examine(*[bang, good(9.5)] * 30) == []
    records = examine(*[bang, good(1.5)] * 30)
    assert [it.state for it in records] == ["raised"]


def test_a_quiet_night_is_no_fault() -> None:
    """Noise of a few steps of 16 bits, also where most samples are zero."""
    for rms in (0.3, 1.0, 3.0):
        assert examine(as_16_bit(noise(120, rms * 2**-15, RATE))) == []


def test_nothing_but_dither_is_raised_and_a_sound_clears_it() -> None:
    """As a muted converter delivers: +-1 of the last bit, with an offset or without."""
    settings = HealthSettings(no_signal_seconds=20, clear_seconds=CLEAR)
    dither = np.random.default_rng(1).integers(-1, 2, (2, 40 * RATE)) - [[0], [5]]
    muted = dither.astype(np.float32) / np.float32(2**15)
    checked = signal_health(settings)
    records = examine(muted, good(CLEAR + 1, 2), by=checked)
    assert outline(records) == [
        ("no-signal", "raised", 0.0, 20.0),
        ("no-signal", "cleared", 0.0, 40.0),
    ]


@pytest.mark.parametrize("lsb", [1 / 3, 0.5, 1.5])
def test_the_noise_of_a_microphone_in_a_quiet_room_is_a_signal(lsb: float) -> None:
    """At 16 bits; a third of the last bit is -101 dBFS."""
    room = as_16_bit(noise(600, lsb * 2**-15, 22_050))
    assert examine(room, by=signal_health(HealthSettings()), rate=22_050) == []


def test_a_block_that_comes_again_and_again_is_raised() -> None:
    """As a stuck driver delivers it."""
    stuck = np.tile(good(0.1, 2), 300)
    checked = signal_health(HealthSettings(hold_seconds=10, clear_seconds=CLEAR))
    records = examine(good(7, 2), stuck, noise(6, 0.05, RATE, 2, seed=1), by=checked)
    (raised, cleared) = records
    assert (raised.kind, raised.state) == ("repetition", "raised")
    assert "the same 100 ms" in raised.detail
    assert 7 <= raised.start / RATE < 14
    assert (cleared.state, cleared.stop) == ("cleared", 37 * RATE)


def test_a_recording_may_be_a_loop() -> None:
    loop = np.tile(good(0.1), 300)
    assert examine(loop, by=signal_health(HealthSettings(), live=False)) == []


def night(hours: float, level_dbfs: float, first: float = 0.0) -> Iterator[ScoreFrame]:
    for minute in range(round(60 * first), round(60 * (first + hours)) + 1):
        yield hop(minute * MINUTE * RATE, -60.0, level_dbfs)


def test_a_source_that_was_never_loud_enough_is_raised_after_half_a_day() -> None:
    checked = signal_health()
    quiet = [it for hop in night(11.9, -75.0) for it in checked.push_level(hop)]
    assert quiet == []
    day = [it for hop in night(2, -75.0, 11.9) for it in checked.push_level(hop)]
    assert outline(day) == [("below-gate", "raised", 0.0, 12 * 3600)]
    assert "louder than -75 dBFS in 12 hours, and below -70 dBFS" in day[0].detail
    (cleared,) = checked.push_level(hop(14 * 3600 * RATE, -50.0, GATE_DBFS))
    assert (cleared.kind, cleared.state) == ("below-gate", "cleared")


def test_a_source_that_was_loud_once_may_be_quiet_for_ever() -> None:
    checked = signal_health()
    checked.push_level(hop(RATE, -50.0, -69.0))
    assert [it for hop in night(50, -75.0) for it in checked.push_level(hop)] == []


def hours_of_sound() -> Iterator[Samples]:
    """Two hours of the demo scene, each minute at another level."""
    scene = render_scene(RATE)
    for minute in range(120):
        yield as_16_bit(scene, 0.2 + (minute % 7) / 7)


def test_hours_of_ordinary_sound_raise_no_health_record() -> None:
    assert examine_blocks(list(hours_of_sound())) == []


def test_an_offset_that_hovers_at_the_limit_does_not_chatter() -> None:
    steps = [good(3) + np.float32(offset) for offset in (0.055, 0.045) * 10]
    assert [it.state for it in examine(*steps)] == ["raised"]


def test_in_a_recording_silence_is_normal_but_clipping_is_not() -> None:
    padded = [silence(30, RATE), FAULTS["clipping"], silence(30, RATE)]
    records = examine(*padded, by=signal_health(live=False))
    assert {it.kind for it in records} == {"clipping"}


def test_an_ignored_kind_is_not_reported() -> None:
    ignoring = signal_health(
        HealthSettings(hold_seconds=HOLD, ignore=("dead-channel",))
    )
    assert examine(FAULTS["dead-channel"], good(6, 2), by=ignoring) == []


def test_at_the_end_a_raised_fault_is_cleared_and_says_why() -> None:
    ending = signal_health()
    (raised,) = examine(FAULTS["clipping"], by=ending)
    (cleared,) = ending.finish("the monitor was stopped")
    assert cleared.id == raised.id
    assert cleared.detail == "the monitor was stopped"
    assert cleared.stop == round(FAULT_SECONDS * RATE)
    assert ending.finish("the monitor was stopped") == []


def test_at_the_end_a_fault_that_was_gone_ends_where_it_went() -> None:
    ending = signal_health()
    examine(FAULTS["clipping"], good(CLEAR - 1), by=ending)
    (cleared,) = ending.finish("the recording is over")
    assert cleared.stop == round(FAULT_SECONDS * RATE)


def test_a_gap_does_not_prolong_a_fault() -> None:
    """A fault for a moment before and a moment after did not last in between."""
    debouncer = Debouncer()
    assert debouncer.push(0, 10, True, hold=15, clear=10) is None
    debouncer.interrupt()
    assert debouncer.push(1000, 1010, True, hold=15, clear=10) is None
    assert debouncer.push(1010, 1020, True, hold=15, clear=10) == "raised"
    assert debouncer.start == 1000


def test_a_fault_before_and_after_a_gap_is_not_one_fault() -> None:
    checked = signal_health()
    clipped = (ChannelStatistics(-1.0, 1.0, 0.0, 0.5, 1000),)
    for second in (0, 1, 10, 11):
        interval = SignalStatistics(
            second * RATE, second * RATE + 3 * RATE // 4, clipped
        )
        assert checked.push(interval) == []


def test_a_cleared_fault_has_to_last_again_before_it_is_raised() -> None:
    short = FAULTS["clipping"][:, :RATE]
    records = examine(FAULTS["clipping"], good(CLEAR), short, good(10))
    assert [it.state for it in records] == ["raised", "cleared"]


class SimulatedLevels:
    """A microphone with a level for every hop."""

    def __init__(self, by: SignalHealth | None = None) -> None:
        self.health = by or signal_health(HealthSettings())
        self.records: list[Health] = []
        self.seconds = 0.0
        self._random = np.random.default_rng(1)

    def sounds(
        self, minutes: float, level_db: float, to_db: float | None = None
    ) -> "SimulatedLevels":
        """Add a floor from `level_db` to `to_db`, with louder hops now and then."""
        count = round(minutes * MINUTE / HOP_SECONDS)
        floors = np.linspace(level_db, level_db if to_db is None else to_db, count)
        louder = self._random.exponential(6.0, count)
        for level in floors + louder:
            self.seconds += HOP_SECONDS
            self.records += self.health.push_level(
                hop(round(self.seconds * RATE), float(level))
            )
        return self

    def is_away(self, minutes: float) -> "SimulatedLevels":
        self.seconds += minutes * MINUTE
        return self

    @property
    def states(self) -> list[str]:
        assert {it.kind for it in self.records} <= {"noise-floor"}
        return [it.state for it in self.records]


def test_a_sudden_fall_that_stays_is_reported_and_so_is_its_end() -> None:
    levels = SimulatedLevels().sounds(180, 50).sounds(60, 30).sounds(60, 50)
    raised, cleared = levels.records
    assert any(f"{fall} dB quieter" in raised.detail for fall in (17, 18, 19, 20))
    ((_, _, began, known), (_, _, _, ended)) = outline(levels.records)
    assert began == pytest.approx(180 * MINUTE, abs=2 * MINUTE)
    assert known == pytest.approx(190 * MINUTE, abs=2 * MINUTE)
    assert ended == pytest.approx(240 * MINUTE, abs=2 * MINUTE)
    assert (raised.state, cleared.state) == ("raised", "cleared")
    assert raised.id == cleared.id


def test_a_fall_of_minutes_is_not_reported() -> None:
    assert SimulatedLevels().sounds(180, 50).sounds(8, 20).sounds(60, 50).records == []


def test_a_fall_by_less_than_the_setting_is_not_reported() -> None:
    assert SimulatedLevels().sounds(180, 50).sounds(60, 41).records == []
    sensitive = signal_health(HealthSettings(noise_floor_fall_db=6))
    assert SimulatedLevels(sensitive).sounds(180, 50).sounds(60, 41).states == [
        "raised"
    ]


def test_before_two_hours_are_known_no_fall_is_reported() -> None:
    assert SimulatedLevels().sounds(110, 50).sounds(300, 20).records == []


def test_evenings_and_nights_are_no_fall() -> None:
    """Days that are 25 dB louder than their nights, begun at noon and in the dark."""
    for hour in (6, 15):
        levels = SimulatedLevels()
        for half_hour in range(3 * 48):
            now, then = (
                40 + 12.5 * math.sin(2 * math.pi * (hour + half / 2) / 24)
                for half in (half_hour, half_hour + 1)
            )
            levels.sounds(30, now, then)
        assert levels.records == []


def test_an_evening_of_two_hours_on_the_first_day_is_no_fall() -> None:
    assert (
        SimulatedLevels().sounds(480, 55).sounds(120, 55, 35).sounds(480, 35).records
        == []
    )


def test_a_level_that_falls_each_night_is_reported_once() -> None:
    """A fall that ends by itself after hours belongs to the place."""
    levels = SimulatedLevels()
    for _ in range(3):
        levels.sounds(15 * 60, 55).sounds(9 * 60, 35)
    assert levels.states == ["raised", "cleared"]


def test_a_microphone_that_is_covered_twice_is_reported_twice() -> None:
    levels = SimulatedLevels().sounds(300, 50)
    for _ in range(2):
        levels.sounds(30, 25).sounds(60, 50)
    assert levels.states == ["raised", "cleared"] * 2


def test_a_lasting_fall_stays_raised() -> None:
    assert SimulatedLevels().sounds(300, 50).sounds(3000, 30).states == ["raised"]


def test_a_long_gap_begins_anew_and_a_short_one_does_not() -> None:
    """After a long one it may be another microphone, or another place."""
    assert SimulatedLevels().sounds(300, 50).is_away(30).sounds(110, 25).records == []
    assert SimulatedLevels().sounds(300, 50).is_away(5).sounds(60, 25).states == [
        "raised"
    ]


def test_a_long_gap_ends_a_fall_and_says_why() -> None:
    levels = SimulatedLevels().sounds(300, 50).sounds(30, 25).is_away(60).sounds(30, 25)
    assert levels.states == ["raised", "cleared"]
    assert "learned anew" in levels.records[-1].detail


def test_a_muted_microphone_is_no_fall() -> None:
    """Digital silence is a fault of its own."""
    levels = SimulatedLevels().sounds(300, 50)
    for number in range(round(60 * MINUTE / HOP_SECONDS)):
        stop = round((levels.seconds + number * HOP_SECONDS) * RATE)
        levels.records += levels.health.push_level(hop(stop, -30.0, level_dbfs=-120.0))
    assert levels.records == []


def test_in_a_recording_a_fall_is_normal() -> None:
    recording = signal_health(HealthSettings(), live=False)
    assert SimulatedLevels(recording).sounds(300, 50).sounds(60, 20).records == []
