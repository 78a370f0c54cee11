"""The ring holds what a list would hold, and never hands out torn data."""

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.ring import Ring, Samples
from monitor.errors import OverrunError
from tests.support.signals import numbered
from tests.support.timelines import frequent_thread_switches

steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write finer", "skip"]), st.integers(0, 40)
    ),
    max_size=30,
)


def of_16_bits(start: int, count: int, channels: int = 1) -> Samples:
    """Numbered samples as a sound card of 16 bits delivers them."""
    return numbered(start, count, channels) / np.float32(2**15)


@given(capacity=st.integers(1, 25), channels=st.integers(1, 3), steps=steps)
def test_a_ring_equals_the_end_of_a_list(
    capacity: int, channels: int, steps: list[tuple[str, int]]
) -> None:
    ring = Ring(channels, capacity)
    everything = np.empty((channels, 0), np.float32)
    for step, count in steps:
        block = of_16_bits(ring.stop + 1, count, channels)
        if step == "write finer":
            block /= np.float32(3)
        if step == "skip":
            ring.skip(count)
            block = np.zeros_like(block)
        else:
            ring.write(block)
        everything = np.concatenate([everything, block], axis=1)

        assert ring.stop == everything.shape[1]
        assert ring.oldest == max(0, ring.stop - capacity)
        held = ring.read(ring.oldest, ring.stop - ring.oldest)
        np.testing.assert_array_equal(held, everything[:, ring.oldest :])


@given(st.data())
def test_any_part_of_a_ring_can_be_read(data: st.DataObject) -> None:
    ring = Ring(2, 10, start=1000)
    for count in data.draw(st.lists(st.integers(0, 12), min_size=1)):
        ring.write(numbered(ring.stop, count, 2))
    start = data.draw(st.integers(ring.oldest, ring.stop))
    count = data.draw(st.integers(0, ring.stop - start))

    np.testing.assert_array_equal(ring.read(start, count), numbered(start, count, 2))


@pytest.mark.parametrize("finest", [2**15, 2**16], ids=["16 bits", "17 bits"])
def test_only_samples_of_more_than_16_bits_take_four_bytes(finest: int) -> None:
    count = 50_000
    generator = np.random.default_rng(0)
    block = generator.integers(-finest, finest, (2, count)).astype(np.float32)
    block[:, :2] = -finest, finest - 1  # the extremes
    block /= np.float32(finest)
    tracemalloc.start()
    try:
        ring = Ring(2, count)
        for start in range(0, count, 100):
            ring.write(block[:, start : start + 100])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    size = 2 if finest == 2**15 else 4
    assert held == pytest.approx(2 * count * size, rel=0.1)
    np.testing.assert_array_equal(ring.read(0, count), block)


def test_a_sample_at_full_scale_is_none_of_16_bits() -> None:
    ring = Ring(1, 4)
    block = np.array([[-1.0, 1.0, 100.0, -1e9]], np.float32)
    ring.write(block)

    np.testing.assert_array_equal(ring.read(0, 4), block)


def test_a_block_larger_than_the_ring_leaves_its_newest_samples() -> None:
    ring = Ring(1, 8)
    ring.write(numbered(0, 3))
    ring.write(numbered(3, 21))

    assert (ring.oldest, ring.stop) == (16, 24)
    np.testing.assert_array_equal(ring.read(16, 8), numbered(16, 8))


def test_overwritten_samples_cannot_be_read() -> None:
    ring = Ring(1, 8)
    ring.write(numbered(0, 9))

    with pytest.raises(OverrunError, match=r"sample 0 .* oldest one is 1"):
        ring.read(0, 1)


def test_samples_before_the_first_cannot_be_read() -> None:
    ring = Ring(1, 8, start=100)
    ring.write(numbered(100, 3))

    with pytest.raises(OverrunError):
        ring.read(99, 2)


def test_future_samples_cannot_be_read() -> None:
    ring = Ring(1, 8)
    ring.write(numbered(0, 3))

    with pytest.raises(ValueError, match="up to 4 of 3"):
        ring.read(2, 2)


def test_a_read_is_a_copy() -> None:
    ring = Ring(1, 4)
    ring.write(numbered(0, 4))
    held = ring.read(0, 4)
    ring.write(numbered(4, 4))

    np.testing.assert_array_equal(held, numbered(0, 4))


def test_a_block_of_other_channels_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"\(2, 5\) for a ring of 1"):
        Ring(1, 8).write(numbered(0, 5, channels=2))


def test_the_writer_announces_what_it_overwrites_before_it_does() -> None:
    """The block looks at the ring at the moment in which it is copied."""

    class Watching(np.ndarray[Any, np.dtype[np.float32]]):
        def __getitem__(self, key: Any) -> Any:
            oldest_while_copied.append(ring.oldest)
            return self.view(np.ndarray)[key]

    oldest_while_copied: list[int] = []
    ring = Ring(1, 8)
    ring.write(numbered(0, 8))
    ring.write(numbered(8, 5).view(Watching))

    assert set(oldest_while_copied) == {5}


@pytest.mark.parametrize("finer", [False, True], ids=["16 bits", "more"])
def test_a_concurrent_writer_never_leaves_torn_data(*, finer: bool) -> None:
    """A reader at the oldest edge gets the right samples, or an error."""
    ring = Ring(2, 5000)
    period = 2**15
    pattern = np.concatenate([of_16_bits(0, period, 2)] * 2, axis=1)
    if finer:
        pattern /= np.float32(3)
    enough = threading.Event()

    def expected(start: int, count: int) -> Samples:
        return pattern[:, start % period : start % period + count]

    def write() -> None:
        sizes = np.random.default_rng(1).integers(1, 4000, 1000).tolist()
        while not enough.is_set():
            for count in sizes:
                ring.write(expected(ring.stop, count))

    with frequent_thread_switches():
        writer = threading.Thread(target=write, name="writer")
        writer.start()
        try:
            overruns = reads = 0
            while overruns < 10 or reads < 20:
                start = ring.oldest
                count = ring.stop - start
                try:
                    samples = ring.read(start, count)
                except OverrunError:
                    overruns += 1
                    continue
                reads += count > 0
                np.testing.assert_array_equal(samples, expected(start, count))
        finally:
            enough.set()
            writer.join()
