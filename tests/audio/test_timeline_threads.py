"""Capture thread and worker meet in a timeline, and neither harms the other."""

import threading

import numpy as np
import pytest

from monitor.audio.timeline import Timeline
from tests.support.signals import numbered
from tests.support.timelines import (
    CAPACITY,
    RATE,
    assert_tiled,
    frequent_thread_switches,
    make_timeline,
    spans,
    write,
)


def test_there_is_room_until_the_ring_is_full() -> None:
    timeline = make_timeline()
    go_on, stopped = threading.Event(), threading.Event()
    stopped.set()
    write(timeline, 70)

    assert timeline.wait_for_room(10, go_on)
    assert not timeline.wait_for_room(10, stopped)
    with pytest.raises(ValueError, match="81 samples for a ring of 80"):
        timeline.wait_for_room(81, go_on)


def test_a_recording_is_not_read_far_ahead_however_large_the_ring_is() -> None:
    timeline = Timeline("tape", RATE, capacity_seconds=60.0)
    timeline.open(1)
    stop = threading.Event()
    write(timeline, 8 * RATE)
    assert timeline.wait_for_room(RATE, stop)
    write(timeline, RATE)
    stop.set()
    assert not timeline.wait_for_room(1, stop)
    assert not timeline.is_urgent
    stop.clear()
    thread = threading.Thread(target=timeline.wait_for_room, args=(1, stop))
    timeline.wakeup = threading.Event()
    thread.start()
    assert timeline.wakeup.wait(5)
    assert timeline.is_urgent
    stop.set()
    thread.join(5)


def test_waiting_for_room_ends_when_it_is_stopped() -> None:
    timeline = make_timeline()
    write(timeline, CAPACITY)
    stop = threading.Event()
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(timeline.wait_for_room(1, stop)), name="capture"
    )
    thread.start()
    stop.set()
    thread.join(timeout=5)

    assert answers == [False]


def test_a_worker_that_is_late_is_woken_when_a_recording_waits_for_room() -> None:
    timeline = make_timeline()
    timeline.wakeup = threading.Event()
    write(timeline, 30)
    timeline.wakeup.clear()
    stop = threading.Event()
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(timeline.wait_for_room(CAPACITY, stop)),
        name="capture",
    )
    thread.start()
    try:
        assert timeline.wakeup.wait(timeout=5)
        assert timeline.is_urgent
        timeline.take()
        thread.join(timeout=5)
    finally:
        stop.set()
        thread.join()

    assert answers == [True]
    assert not timeline.is_urgent


def test_a_recording_that_waits_for_room_loses_nothing() -> None:
    timeline = make_timeline()
    timeline.wakeup = threading.Event()
    stop = threading.Event()
    sizes = np.random.default_rng(0).integers(1, CAPACITY, 500).tolist()

    def capture() -> None:
        for count in sizes:
            if timeline.wait_for_room(count, stop):
                write(timeline, count)

    thread = threading.Thread(target=capture, name="capture")
    thread.start()
    tiles = []
    try:
        while timeline.taken < sum(sizes):
            assert timeline.wakeup.wait(timeout=5)
            timeline.wakeup.clear()
            tiles += spans(timeline.take())
    finally:
        stop.set()
        thread.join()

    assert_tiled(tiles, 0, sum(sizes))
    assert {kind for _, _, kind in tiles} == {"1 channels"}


def test_a_capture_thread_that_laps_the_worker_makes_no_hole_and_no_overlap() -> None:
    timeline = Timeline("street", sample_rate=1000, capacity_seconds=5)
    timeline.open(1)
    done = threading.Event()

    def capture() -> None:
        for index, count in enumerate([3, 700, 41, 4000] * 500):
            if index % 7 == 0:
                timeline.open(1 + index % 2)
            if index % 5 == 0:
                timeline.lose(count, "stalled")
            else:
                write(timeline, count, 1 + (index - index % 7) % 2)
        done.set()

    with frequent_thread_switches(1e-5):
        thread = threading.Thread(target=capture, name="capture")
        thread.start()
        tiles = []
        while not done.is_set() or timeline.taken < timeline.stop:
            start = timeline.taken
            fresh = spans(timeline.take())
            assert_tiled(fresh, start, timeline.taken)
            tiles += fresh
        thread.join()

    assert_tiled(tiles, 0, timeline.stop)
    assert {"overrun", "stalled"} < {kind for _, _, kind in tiles}


def test_no_torn_copy_of_the_past_is_given_while_the_writer_goes_on() -> None:
    timeline = Timeline("street", RATE, CAPACITY / RATE)
    timeline.open(1)
    write(timeline, CAPACITY)
    done = threading.Event()

    def capture() -> None:
        for _ in range(3000):
            write(timeline, 37)
        done.set()

    thread = threading.Thread(target=capture, name="capture")
    thread.start()
    while not done.is_set():
        stop = timeline.stop
        first, samples = timeline.read(stop - CAPACITY, stop)
        count = samples.shape[1]
        assert np.array_equal(samples, numbered(first, count))
    thread.join()
