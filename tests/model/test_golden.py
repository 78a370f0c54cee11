"""The golden signal costs little, although it is computed at every start."""

import tracemalloc

from monitor.model.golden import golden_signal
from monitor.spec import ModelSpec


def test_the_golden_signal_is_computed_in_a_few_times_its_own_memory() -> None:
    tracemalloc.start()
    try:
        signal = golden_signal(ModelSpec())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 5 * signal.nbytes
