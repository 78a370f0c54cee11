"""A worker that cannot keep up and a clock that is set, in a simulated world."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.clock import FakeClock
from tests.support.faulty_sources import Figure
from tests.support.loud import SPEC, loud_pipeline
from tests.support.simulation import SimulatedCard, Simulation, TimedSink

SECONDS = 240.0
EVERY, LENGTH = 10.0, 2.0
NOISE = np.random.default_rng(1).standard_normal(SPEC.sample_rate).astype(np.float32)

pytestmark = pytest.mark.slow


def street(moments: NDArray[np.float64]) -> NDArray[np.float32]:
    loudness = np.where(moments % EVERY < LENGTH, 0.3, 0.001).astype(np.float32)
    return np.resize(NOISE, moments.size) * loudness


@pytest.fixture
def world() -> tuple[Simulation, TimedSink]:
    clock = FakeClock()
    card = SimulatedCard(clock, street, SPEC.sample_rate, block_seconds=0.25)
    witness = TimedSink(clock)
    world = Simulation(card, loud_pipeline(48), [witness], turn_seconds=0.75)
    return world, witness


def seconds_off(world: Simulation, witness: TimedSink) -> float:
    """How far the begin of an event lies from that of a sound, at most."""
    begins = [start - world.card.began for start, _, _ in witness.events]
    return max(abs(begin - round(begin / EVERY) * EVERY) for begin in begins)


def test_a_worker_three_times_slower_than_sound(
    world: tuple[Simulation, TimedSink], figures: list[Figure]
) -> None:
    slow, witness = world
    slow.cost = 3.0
    slow.run(SECONDS)
    assert witness.statistics is not None
    lost = sum(stop - start for start, stop, _ in witness.gaps)
    assert {gap.reason for _, _, gap in witness.gaps} == {"overrun"}
    assert 0.4 * SECONDS < lost < 0.75 * SECONDS
    name = f"worker three times slower than sound, {SECONDS:.0f} s"
    figures.append(Figure(name, lost_seconds=lost))


@pytest.mark.parametrize("hours", [1, -1])
def test_a_step_of_the_wall_clock_by_an_hour(
    world: tuple[Simulation, TimedSink], figures: list[Figure], hours: int
) -> None:
    stepped, witness = world
    stepped.run(SECONDS, [(101.0, lambda: stepped.step_wall_clock(3600.0 * hours))])
    assert witness.gaps == []
    assert len(witness.events) == SECONDS / EVERY
    assert seconds_off(stepped, witness) < 0.1
    lost = sum(stop - start for start, stop, _ in witness.gaps)
    figures.append(Figure(f"the clock is set by {hours:+} h", lost_seconds=lost))
