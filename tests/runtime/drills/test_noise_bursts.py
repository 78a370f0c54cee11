"""The noise of the drills: its level, its times, its end."""

import subprocess
import sys

import numpy as np
import pytest

from monitor.runtime.drills.noise_bursts import (
    BURST_SECONDS,
    PERIOD_SECONDS,
    SAMPLE_RATE,
    render,
)


@pytest.mark.parametrize("lead", [0.0, 0.25, 0.5])
def test_a_burst_begins_at_each_multiple_of_the_period(lead: float) -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    moment = 250_000_000 * PERIOD_SECONDS - lead
    samples = np.frombuffer(render(moment, noise), "<i2")
    loud = np.flatnonzero(np.abs(samples) > 500) / SAMPLE_RATE
    assert loud[0] == pytest.approx(lead, abs=0.01)
    assert loud[-1] == pytest.approx(lead + BURST_SECONDS, abs=0.01)


def test_it_plays_in_real_time_and_ends_with_its_reader() -> None:
    argv = [sys.executable, "-m", "monitor.runtime.drills.noise_bursts"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as player:
        assert player.stdout is not None
        assert len(player.stdout.read(SAMPLE_RATE)) == SAMPLE_RATE  # half a second
        player.stdout.close()
        assert player.wait(30) == 0
