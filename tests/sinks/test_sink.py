"""The base class of sinks, and the thread of a sink."""

import threading

import pytest

from monitor.sinks.sink import BackgroundThread, MemorySink, Sink
from tests.support.timed import event, onset, statistics


def test_the_base_sink_accepts_every_call() -> None:
    sink = Sink()
    sink.write([event()])
    sink.report(statistics("street"))
    sink.reopen()
    sink.close()
    assert (sink.queues, sink.take_recovered(), sink.canary_results) == ({}, (), ())


def test_a_memory_sink_keeps_the_records_in_order() -> None:
    sink = MemorySink()
    sink.write([onset()])
    sink.write([event()])
    assert sink.records == [onset(), event()]


def test_the_thread_of_a_sink_starts_once_and_ends_on_stop() -> None:
    started = []

    def run(stop: threading.Event) -> None:
        started.append(threading.current_thread())
        stop.wait(20)

    thread = BackgroundThread("test", run)
    assert thread.finish(0.0)  # it never ran
    thread = BackgroundThread("test", run)
    for _ in range(3):
        thread.keep_running()
    assert thread.finish(20)
    assert [each.name for each in started] == ["test"]


def test_an_exception_of_the_thread_is_raised_in_the_worker() -> None:
    def run(_: threading.Event) -> None:
        raise RuntimeError("broken on purpose")

    thread = BackgroundThread("test", run)
    thread.keep_running()
    assert thread.finish(20)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        thread.keep_running()


def test_a_thread_that_hangs_does_not_hold_up_the_worker() -> None:
    release = threading.Event()

    def hang(_: threading.Event) -> None:
        release.wait(20)

    thread = BackgroundThread("test", hang)
    thread.keep_running()
    assert not thread.finish(0.01)
    release.set()
    assert thread.finish(20)
