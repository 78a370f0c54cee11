"""Looking back at what the ring still holds."""

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.feed import Feed

RATE = 100
CAPACITY = 500


def numbered(start: int, count: int, channels: int = 1) -> np.ndarray:
    return np.tile(np.arange(start, start + count, dtype=np.float32), (channels, 1))


def written(*counts: int) -> Feed:
    feed = Feed("street", RATE, CAPACITY / RATE)
    feed.open(1)
    for count in counts:
        feed.write(numbered(feed.stop, count), 0.0)
    return feed


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    start=st.integers(0, 1500),
    count=st.integers(0, 700),
)
def test_it_gives_exactly_what_is_wanted_and_still_there(
    counts: list[int], start: int, count: int
) -> None:
    feed = written(*counts)
    first, samples = feed.past(start, start + count)
    there = range(max(0, feed.stop - CAPACITY), feed.stop)
    wanted = [index for index in range(start, start + count) if index in there]
    assert samples[0].tolist() == wanted
    assert not wanted or first == wanted[0]


def test_what_was_taken_can_be_looked_back_at() -> None:
    feed = written(200)
    feed.take()
    assert feed.past(0, 200)[1].shape == (1, 200)


def test_what_was_lost_is_silence() -> None:
    feed = written(100)
    feed.lose(50, "stalled")
    feed.write(numbered(150, 50), 0.0)
    _, samples = feed.past(90, 160)
    assert samples[0].tolist() == [*range(90, 100), *[0] * 50, *range(150, 160)]


def test_another_number_of_channels_begins_anew() -> None:
    feed = written(100)
    feed.open(2)
    feed.write(numbered(100, 50, channels=2), 0.0)
    first, samples = feed.past(50, 150)
    assert first == 100
    assert samples.shape == (2, 50)


def test_before_the_first_sample_there_is_nothing() -> None:
    feed = Feed("street", RATE, 5.0)
    assert feed.past(0, 100)[1].shape == (1, 0)


def test_no_torn_copy_is_given_while_the_writer_goes_on() -> None:
    feed = written(CAPACITY)
    done = threading.Event()

    def write() -> None:
        for _ in range(3000):
            feed.write(numbered(feed.stop, 37), 0.0)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        stop = feed.stop
        first, samples = feed.past(stop - CAPACITY, stop)
        count = samples.shape[1]
        assert np.array_equal(samples, numbered(first, count))
    thread.join()
