"""Threads live and end together."""

import threading

from monitor.runtime.threads import Threads


def test_a_failed_thread_stops_the_others_and_its_error_is_kept():
    stop = threading.Event()
    threads = Threads(stop)
    threads.start("patient", lambda stop: stop.wait())

    def fail(stop: threading.Event) -> None:
        raise ZeroDivisionError("broken")

    threads.start("broken", fail)
    assert threads.join(5.0) == []
    assert stop.is_set()
    assert isinstance(threads.failure, ZeroDivisionError)


def test_a_thread_that_does_not_stop_is_named():
    stop = threading.Event()
    release = threading.Event()
    threads = Threads(stop)
    threads.start("stubborn", lambda stop: release.wait())
    stop.set()
    assert threads.join(0.01) == ["stubborn"]
    release.set()
    assert threads.join(5.0) == []
    assert threads.failure is None
