"""The base class of sinks, and the thread of a sink."""

import logging
import threading
from collections.abc import Sequence

import pytest

from monitor.records import Timed
from monitor.sinks.sink import (
    STEADY_SECONDS,
    BackgroundThread,
    FileSinks,
    MemorySink,
    Sink,
)
from tests.support.clock import FakeClock, wait_until
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


CLOCK = FakeClock()


class SlowDisk(MemorySink):
    """Keeps records once the disk answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.is_closed = False

    def write(self, batch: Sequence[Timed]) -> None:
        self.answers.wait(20)
        super().write(batch)

    def take_recovered(self) -> Sequence[Timed]:
        return [event(number=9)]

    def close(self) -> None:
        self.is_closed = True


def test_a_disk_that_hangs_holds_up_one_call_and_loses_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = SlowDisk()
    files = FileSinks([disk], CLOCK.monotonic, late_seconds=0.01)
    for number in range(3):
        files.write([event(number=number)])
        files.report(statistics("street"))
    assert not disk.records
    assert files.queues["disk"] == 2
    assert not files.take_recovered()
    disk.answers.set()
    files.close()
    assert disk.records == [event(number=number) for number in range(3)]
    assert disk.is_closed
    assert caplog.text.count("the disk hangs") == 1


def test_a_call_returns_when_its_records_are_on_the_disk(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = SlowDisk()
    files = FileSinks([disk], CLOCK.monotonic, late_seconds=20)
    threading.Timer(0.01, disk.answers.set).start()
    files.write([event()])
    assert disk.records == [event()]
    files.close()
    assert not caplog.text


def test_trouble_is_logged_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A card that stalls again and again is one trouble."""
    caplog.set_level(logging.WARNING)
    clock, disk = FakeClock(), SlowDisk()
    files = FileSinks([disk], clock.monotonic, late_seconds=0.01, most_calls=2)
    for number in range(5):
        files.write([event(number=number)])
    for stalls in range(3):
        disk.answers.set()
        wait_until(lambda stalls=stalls: len(disk.records) >= 3 + stalls)
        files.report(statistics("street"))
        disk.answers.clear()
        files.write([event()])
        clock.advance(STEADY_SECONDS - 1)
    disk.answers.set()
    clock.advance(STEADY_SECONDS)
    wait_until(lambda: files.write([event()]) or "answers again" in caplog.text)
    files.close()
    begun, full, over = (record.getMessage() for record in caplog.records)
    assert "the disk hangs: what" in begun
    assert "memory is full" in full
    assert over == "the disk answers again; 2 batches are lost"


def test_what_one_sink_recovers_the_others_get_too() -> None:
    disk, log = SlowDisk(), MemorySink()
    files = FileSinks([disk, log], CLOCK.monotonic)
    assert files.take_recovered() == log.records == [event(number=9)]
    files.close()


def test_an_exception_of_a_file_sink_is_raised_in_the_worker() -> None:
    class Broken(Sink):
        def write(self, _batch: Sequence[Timed]) -> None:
            raise RuntimeError("broken on purpose")

    files = FileSinks([Broken()], CLOCK.monotonic)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        files.write([event()])
    files.close()
