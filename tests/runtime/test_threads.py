"""Threads live and end together."""

import threading

from monitor.runtime.threads import Threads


def test_a_failed_thread_stops_the_others_and_its_error_is_kept():
    threads = Threads()
    threads.start("patient", lambda stop: stop.wait())

    def fail(stop: threading.Event) -> None:
        raise ZeroDivisionError("broken")

    threads.start("broken", fail)
    assert threads.join(5.0) == []
    assert threads.stop.is_set()
    assert isinstance(threads.failure, ZeroDivisionError)


def test_a_thread_that_does_not_stop_is_named():
    release = threading.Event()
    threads = Threads()
    threads.start("stubborn", lambda stop: release.wait())
    threads.stop.set()
    assert threads.join(0.01) == ["stubborn"]
    release.set()
    assert threads.join(5.0) == []
    assert threads.failure is None


def test_one_thread_is_ended_alone_and_the_others_go_on():
    threads = Threads()
    one = threads.start("one", lambda stop: stop.wait())
    other = threads.start("other", lambda stop: stop.wait())
    one.stop.set()
    assert one.join(5.0)
    assert not other.join(0.01)
    assert threads.join(0.0) == ["other"]
    threads.stop.set()
    assert threads.join(5.0) == []


def test_what_is_started_after_the_end_of_all_ends_at_once():
    threads = Threads()
    threads.stop.set()
    late = threads.start("late", lambda stop: stop.wait())
    assert late.join(5.0)


def test_a_hurry_shortens_the_wait_for_all_of_them():
    release = threading.Event()
    threads = Threads()
    for name in ("one", "other"):
        threads.start(name, lambda stop: release.wait())
    asked = iter([False, False])
    late = threads.join(1e6, lambda: next(asked, True), hurry_seconds=0.0)
    assert late == ["one", "other"]
    release.set()
    assert threads.join(5.0) == []


def test_one_thread_may_be_left_out_of_the_wait():
    release = threading.Event()
    threads = Threads()
    threads.start("reload", lambda stop: release.wait())
    threads.start("worker", lambda stop: stop.wait())
    threads.stop.set()
    assert threads.join(5.0, without="reload") == []
    assert threads.join(0.0) == ["reload"]
    release.set()
    assert threads.join(5.0) == []
