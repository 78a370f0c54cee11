"""Looking back at what the ring still holds."""

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.timeline import Timeline

RATE = 100
CAPACITY = 500


def numbered(start: int, count: int, channels: int = 1) -> np.ndarray:
    return np.tile(np.arange(start, start + count, dtype=np.float32), (channels, 1))


def written(*counts: int) -> Timeline:
    timeline = Timeline("street", RATE, CAPACITY / RATE)
    timeline.open(1)
    for count in counts:
        timeline.write(numbered(timeline.stop, count), 0.0)
    return timeline


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    start=st.integers(0, 1500),
    count=st.integers(0, 700),
)
def test_it_gives_exactly_what_is_wanted_and_still_there(
    counts: list[int], start: int, count: int
) -> None:
    timeline = written(*counts)
    first, samples = timeline.past(start, start + count)
    there = range(max(0, timeline.stop - CAPACITY), timeline.stop)
    wanted = [index for index in range(start, start + count) if index in there]
    assert samples[0].tolist() == wanted
    assert not wanted or first == wanted[0]


def test_what_was_taken_can_be_looked_back_at() -> None:
    timeline = written(200)
    timeline.take()
    assert timeline.past(0, 200)[1].shape == (1, 200)


def test_what_was_lost_is_silence() -> None:
    timeline = written(100)
    timeline.lose(50, "stalled")
    timeline.write(numbered(150, 50), 0.0)
    _, samples = timeline.past(90, 160)
    assert samples[0].tolist() == [*range(90, 100), *[0] * 50, *range(150, 160)]


def test_another_number_of_channels_begins_anew() -> None:
    timeline = written(100)
    timeline.open(2)
    timeline.write(numbered(100, 50, channels=2), 0.0)
    first, samples = timeline.past(50, 150)
    assert first == 100
    assert samples.shape == (2, 50)


def test_before_the_first_sample_there_is_nothing() -> None:
    timeline = Timeline("street", RATE, 5.0)
    assert timeline.past(0, 100)[1].shape == (1, 0)


def test_no_torn_copy_is_given_while_the_writer_goes_on() -> None:
    timeline = written(CAPACITY)
    done = threading.Event()

    def write() -> None:
        for _ in range(3000):
            timeline.write(numbered(timeline.stop, 37), 0.0)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        stop = timeline.stop
        first, samples = timeline.past(stop - CAPACITY, stop)
        count = samples.shape[1]
        assert np.array_equal(samples, numbered(first, count))
    thread.join()
