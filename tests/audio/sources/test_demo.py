"""The synthesised sounds have the physics of what they stand for."""

import numpy as np
import pytest
from scipy.signal import butter, hilbert, sosfilt

from monitor.audio.sources.demo import LABELS, SCENE, render_sound

RATE = 44_100


def test_every_sound_of_the_scene_can_be_had_alone_and_is_the_same_again() -> None:
    assert {sound.label for sound in SCENE} == set(LABELS)
    for label in LABELS:
        first, second = (render_sound(label, 3.0, RATE) for _ in range(2))
        assert (first == second).all()


def test_a_drill_strikes_hundreds_of_times_a_second_at_a_varying_speed() -> None:
    """A jackhammer strikes 15 to 30 times a second."""
    drill = render_sound("drilling", 8.0, RATE)
    treble = sosfilt(
        butter(4, (2_000, 9_000), "bandpass", fs=RATE, output="sos"), drill
    )
    count = RATE // 4
    loaded = np.abs(hilbert(treble))[RATE : 7 * RATE].reshape(-1, count)
    spectrum = np.abs(np.fft.rfft(loaded * np.hanning(count)))
    frequencies = np.fft.rfftfreq(count, 1 / RATE)
    spectrum[:, (frequencies < 12) | (frequencies > 1_200)] = 0
    blows = frequencies[spectrum.argmax(axis=1)]
    assert np.median(blows) == pytest.approx(14 * 55 * 0.87, rel=0.05)
    clear = blows[blows > 500]
    assert 1.05 < clear.max() / clear.min() < 1.5


def test_a_drill_has_its_power_above_five_hundred_hertz_and_runs_up_and_down() -> None:
    drill = render_sound("drilling", 8.0, RATE)
    power = np.abs(np.fft.rfft(drill)) ** 2
    frequencies = np.fft.rfftfreq(drill.size, 1 / RATE)
    assert power[frequencies > 500].sum() > 0.9 * power.sum()
    levels = np.sqrt(np.mean(drill.reshape(-1, RATE // 10) ** 2, axis=1))
    middle = levels[10:70]
    assert levels[[0, -1]].max() < 0.7 * middle.min()
    assert middle.max() < 2 * middle.min()
