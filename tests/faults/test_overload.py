"""A worker that cannot keep up and a clock that is set, in simulated time."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.clock import FakeClock
from tests.support.fault_monitor import Figure
from tests.support.loudness_classifier import SPEC, loudness_pipeline
from tests.support.simulation import SimulatedCard, Simulation, TimedSink

SECONDS = 240.0
EVERY, LENGTH = 10.0, 2.0
NOISE = np.random.default_rng(1).standard_normal(SPEC.sample_rate).astype(np.float32)

pytestmark = pytest.mark.slow


def sound_of_card(moments: NDArray[np.float64]) -> NDArray[np.float32]:
    loudness = np.where(moments % EVERY < LENGTH, 0.3, 0.001).astype(np.float32)
    return np.resize(NOISE, moments.size) * loudness


@pytest.fixture
def simulation() -> tuple[Simulation, TimedSink]:
    clock = FakeClock()
    card = SimulatedCard(clock, sound_of_card, SPEC.sample_rate, block_seconds=0.25)
    sink = TimedSink(clock)
    simulation = Simulation(card, loudness_pipeline(48), [sink], turn_seconds=0.75)
    return simulation, sink


def seconds_off(simulation: Simulation, sink: TimedSink) -> float:
    """Return the largest distance between the begin of an event and of its sound."""
    begins = [start - simulation.card.began for start, _, _ in sink.events]
    return max(abs(begin - round(begin / EVERY) * EVERY) for begin in begins)


def test_a_worker_three_times_slower_than_real_time_loses_only_the_excess(
    simulation: tuple[Simulation, TimedSink], figures: list[Figure]
) -> None:
    slow, sink = simulation
    slow.cost = 3.0
    slow.run(SECONDS)
    assert sink.statistics is not None
    lost = sum(stop - start for start, stop, _ in sink.gaps)
    assert {gap.reason for _, _, gap in sink.gaps} == {"overrun"}
    assert 0.4 * SECONDS < lost < 0.75 * SECONDS
    name = f"worker three times slower than sound, {SECONDS:.0f} s"
    figures.append(Figure(name, lost_seconds=lost))


@pytest.mark.parametrize("hours", [1, -1])
def test_a_step_of_the_wall_clock_loses_and_moves_no_event(
    simulation: tuple[Simulation, TimedSink], figures: list[Figure], hours: int
) -> None:
    stepped, sink = simulation
    stepped.run(SECONDS, [(101.0, lambda: stepped.step_wall_clock(3600.0 * hours))])
    assert sink.gaps == []
    assert len(sink.events) == SECONDS / EVERY
    assert seconds_off(stepped, sink) < 0.1
    lost = sum(stop - start for start, stop, _ in sink.gaps)
    figures.append(Figure(f"the clock is set by {hours:+} h", lost_seconds=lost))
