"""Capture thread and worker meet in a feed, and neither harms the other."""

import threading

import numpy as np
import pytest

from monitor.audio.feed import Feed
from tests.support.feeds import CAPACITY, assert_tiled, make_feed, spans, write
from tests.support.turns import frequent_turns


def test_there_is_room_until_the_ring_is_full() -> None:
    feed = make_feed()
    go_on, stopped = threading.Event(), threading.Event()
    stopped.set()
    write(feed, 70)

    assert feed.wait_for_room(10, go_on)
    assert not feed.wait_for_room(10, stopped)
    with pytest.raises(ValueError, match="81 samples for a ring of 80"):
        feed.wait_for_room(81, go_on)


def test_waiting_for_room_ends_when_it_is_stopped() -> None:
    feed = make_feed()
    write(feed, CAPACITY)
    stop = threading.Event()
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(feed.wait_for_room(1, stop)), name="capture"
    )
    thread.start()
    stop.set()
    thread.join(timeout=5)

    assert answers == [False]


def test_a_worker_that_lets_sound_collect_learns_that_a_recording_waits() -> None:
    feed = make_feed()
    feed.wakeup = threading.Event()
    write(feed, 30)
    feed.wakeup.clear()
    stop = threading.Event()
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(feed.wait_for_room(CAPACITY, stop)),
        name="capture",
    )
    thread.start()
    try:
        assert feed.wakeup.wait(timeout=5)
        assert feed.has_marks
        feed.take()
        thread.join(timeout=5)
    finally:
        stop.set()
        thread.join()

    assert answers == [True]
    assert not feed.has_marks


def test_a_recording_that_waits_for_room_loses_nothing() -> None:
    feed = make_feed()
    feed.wakeup = threading.Event()
    stop = threading.Event()
    sizes = np.random.default_rng(0).integers(1, CAPACITY, 500).tolist()

    def capture() -> None:
        for count in sizes:
            if feed.wait_for_room(count, stop):
                write(feed, count)

    thread = threading.Thread(target=capture, name="capture")
    thread.start()
    tiles = []
    try:
        while feed.taken < sum(sizes):
            assert feed.wakeup.wait(timeout=5)
            feed.wakeup.clear()
            tiles += spans(feed.take())
    finally:
        stop.set()
        thread.join()

    assert_tiled(tiles, 0, sum(sizes))
    assert {kind for _, _, kind in tiles} == {"1 channels"}


def test_a_capture_thread_that_laps_the_worker_leaves_no_hole_and_no_overlap() -> None:
    feed = Feed("street", sample_rate=1000, capacity_seconds=5)
    feed.open(1)
    done = threading.Event()

    def capture() -> None:
        for index, count in enumerate([3, 700, 41, 4000] * 500):
            if index % 7 == 0:
                feed.open(1 + index % 2)
            if index % 5 == 0:
                feed.lose(count, "stalled")
            else:
                write(feed, count, 1 + (index - index % 7) % 2)
        done.set()

    with frequent_turns(1e-5):
        thread = threading.Thread(target=capture, name="capture")
        thread.start()
        tiles = []
        while not done.is_set() or feed.taken < feed.stop:
            start = feed.taken
            fresh = spans(feed.take())
            assert_tiled(fresh, start, feed.taken)
            tiles += fresh
        thread.join()

    assert_tiled(tiles, 0, feed.stop)
    assert feed.lost_samples == sum(b - a for a, b, kind in tiles if "ch" not in kind)
    assert {"overrun", "stalled"} < {kind for _, _, kind in tiles}
