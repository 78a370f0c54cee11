"""Sinks that write files: what a disk that hangs costs, and what it does not."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from monitor.errors import StoreUnavailableError
from monitor.records import Timed
from monitor.runtime.daemon import STOP_SECONDS
from monitor.runtime.worker import LAST_WORK_SECONDS
from monitor.sinks.file_sinks import (
    LAST_SECONDS,
    LATE_SECONDS,
    MOST_FRAMES,
    MOST_RECORDS,
    STEADY_SECONDS,
    FileSinks,
)
from monitor.sinks.sink import MemorySink, Sink
from tests.support.clock import FakeClock, wait_until
from tests.support.health import trouble
from tests.support.store import AlertOnEverything, make_store, rows
from tests.support.timed import event, frame, gap, onset, statistics

CLOCK = FakeClock()


class SlowDisk(MemorySink):
    """Keeps records once the disk answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.is_closed = False
        self.calls = 0
        self.recovered = [event(number=9)]

    def write(self, batch: Sequence[Timed]) -> None:
        self.calls += 1
        self.answers.wait(20)
        super().write(batch)

    def take_recovered(self) -> Sequence[Timed]:
        found, self.recovered = self.recovered, []
        return found

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def disk() -> Iterator[SlowDisk]:
    disk = SlowDisk()
    disk.recovered = []
    yield disk
    disk.answers.set()


def late(
    sinks: Sequence[Sink],
    last_seconds: float = LAST_SECONDS,
    most_records: int = MOST_RECORDS,
    most_frames: int = MOST_FRAMES,
) -> FileSinks:
    """Sinks for which nobody waits long."""
    return FileSinks(sinks, CLOCK, 0.01, last_seconds, most_records, most_frames)


def test_a_disk_that_hangs_holds_up_one_call_and_loses_nothing(
    disk: SlowDisk, caplog: pytest.LogCaptureFixture
) -> None:
    files = late([disk])
    for number in range(3):
        files.write([event(number=number)])
        files.report(statistics("street"))
    assert not disk.records
    assert files.queues["disk"] == 3
    disk.answers.set()
    files.close()
    assert disk.records == [event(number=number) for number in range(3)]
    assert disk.calls == 2
    assert disk.is_closed
    assert files.queues["disk"] == 0
    assert caplog.text.count("the disk hangs") == 1


def test_a_call_returns_when_its_records_are_on_the_disk(
    disk: SlowDisk, caplog: pytest.LogCaptureFixture
) -> None:
    files = FileSinks([disk], CLOCK, late_seconds=20)
    threading.Timer(0.01, disk.answers.set).start()
    files.write([event()])
    assert disk.records == [event()]
    files.close()
    assert not caplog.text


def test_the_call_that_hangs_is_pending_though_nothing_waits_behind_it(
    disk: SlowDisk,
) -> None:
    """Else a reload would close the sinks in the middle of it."""
    files = late([disk])
    files.write([event()])
    assert files.queues["disk"] == 1
    disk.answers.set()
    files.close()


def test_trouble_is_logged_when_it_begins_and_when_it_is_over(
    disk: SlowDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """A card that stalls again and again is one trouble."""
    caplog.set_level(logging.WARNING)
    clock = FakeClock()
    files = FileSinks([disk], clock, late_seconds=0.01, most_records=2)
    for number in range(5):
        files.write([event(number=number)])
    for stalls in range(3):
        disk.answers.set()
        wait_until(lambda: files.queues["disk"] == 0)
        disk.answers.clear()
        files.write([event(number=10 + stalls)])
        clock.advance(STEADY_SECONDS - 1)
    disk.answers.set()
    wait_until(lambda: files.queues["disk"] == 0)
    clock.advance(STEADY_SECONDS)
    files.write([event()])
    files.close()
    begun, full, over = (record.getMessage() for record in caplog.records)
    assert "the disk hangs: what" in begun
    assert "memory for 2 records is full" in full
    assert over == ("the disk answers again; 2 records and 0 score frames are lost")


def test_what_waits_keeps_its_time_for_the_rules(
    disk: SlowDisk, tmp_path: Path
) -> None:
    """Else a cooldown drops the alerts of all sounds but the first."""
    clock = FakeClock()
    path = tmp_path / "monitor.db"
    store = make_store(path, clock=clock, rules=AlertOnEverything())
    files = FileSinks([disk, store], clock, late_seconds=0.01)
    for number in range(3):
        files.write([onset(number=number)])
        clock.advance(15.0)
    disk.answers.set()
    files.close()
    created = rows(path, "SELECT created_ms FROM alerts ORDER BY 1")
    assert [after - created[0] for after in created] == [0, 15_000, 30_000]


def test_score_frames_take_no_room_from_records(
    disk: SlowDisk, caplog: pytest.LogCaptureFixture
) -> None:
    files = late([disk], most_records=4, most_frames=2)
    files.write([frame(stop_seconds=4)])
    kept = [onset(), event(), gap(), trouble("raised")]
    files.write(kept)
    for second in range(5, 30):
        files.write([frame(stop_seconds=second)])
    disk.answers.set()
    files.close()
    frames = [frame(stop_seconds=second) for second in (4, 28, 29)]
    assert disk.records == [frames[0], *kept, *frames[1:]]
    assert caplog.text.count("memory for 2 score frames is full") == 1


def test_of_records_beyond_the_limit_the_newest_stay(disk: SlowDisk) -> None:
    files = late([disk], most_records=2)
    for number in range(6):
        files.write([event(number=number)])
    disk.answers.set()
    files.close()
    assert disk.records == [event(number=number) for number in (0, 4, 5)]


def test_the_sinks_are_closed_however_much_waits(disk: SlowDisk) -> None:
    files = late([disk], most_records=1, most_frames=0)
    for number in range(5):
        files.write([event(number=number), frame()])
    threading.Timer(0.05, disk.answers.set).start()
    files.close()
    assert disk.is_closed


def test_a_disk_that_hangs_at_the_end_is_not_waited_for_longer_than_the_unit_waits(
    disk: SlowDisk, caplog: pytest.LogCaptureFixture
) -> None:
    assert LAST_WORK_SECONDS + LATE_SECONDS + LAST_SECONDS < STOP_SECONDS
    files = late([disk], last_seconds=0.01)
    files.write([event(number=0), frame()])
    files.write([event(number=1)])
    files.close()
    assert "2 records and 1 score frames may not be written" in caplog.text
    assert files.queues["disk"] == 3
    disk.answers.set()
    wait_until(lambda: disk.is_closed)  # the process may live on after a reload
    assert disk.records == [event(number=0), frame(), event(number=1)]


def test_what_one_sink_recovers_the_others_get_too_on_the_files_thread() -> None:
    class Log(MemorySink):
        def write(self, batch: Sequence[Timed]) -> None:
            assert threading.current_thread().name == "files"
            super().write(batch)

    disk, log = SlowDisk(), Log()
    files = FileSinks([disk, log], CLOCK)
    assert files.take_recovered() == log.records == [event(number=9)]
    assert not files.take_recovered()
    disk.recovered = [event(number=8)]
    files.report(statistics())
    assert files.take_recovered() == log.records[1:] == [event(number=8)]
    files.close()


def test_a_log_that_hangs_does_not_hold_up_what_was_recovered(disk: SlowDisk) -> None:
    store = SlowDisk()
    files = late([store, disk])
    assert not files.take_recovered()
    disk.answers.set()
    wait_until(lambda: files.take_recovered() == [event(number=9)])
    files.close()


class Broken(Sink):
    """Fails in one of its calls."""

    def __init__(self, call: str) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("broken on purpose")

        setattr(self, call, fail)


@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("write", lambda files: files.write([event()])),
        ("report", lambda files: files.report(statistics())),
        ("reopen", FileSinks.reopen),
        ("close", FileSinks.close),
    ],
)
def test_an_exception_of_a_file_sink_is_raised_in_the_worker(
    call: str, use: Callable[[FileSinks], None]
) -> None:
    """By the call itself: what it hands on would count as written."""
    files = FileSinks([Broken(call)], CLOCK)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        use(files)
    files.close()  # not again: the worker closes its sinks after the exception


def test_an_exception_that_comes_late_is_raised_by_the_next_call(
    disk: SlowDisk,
) -> None:
    files = late([disk, Broken("write")])
    files.write([event()])
    disk.answers.set()
    wait_until(lambda: files.queues["disk"] == 0)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        files.close()


def test_the_queues_are_read_while_the_store_catches_up(tmp_path: Path) -> None:
    """The worker asks for them with every report."""
    gate = SlowDisk()
    gate.recovered = []
    store = make_store(tmp_path / "monitor.db")
    files = late([gate, store])
    for second in range(4, 2000, 3):  # each frame is a row of its own
        files.write([frame(stop_seconds=second)])
    gate.answers.set()
    seen = set()
    while queues := files.queues:
        seen.add(queues["store-frames"])
        if not queues["disk"]:
            break
    assert max(seen) <= 666
    files.close()
    assert rows(tmp_path / "monitor.db", "SELECT sum(frames) FROM scores") == [666]


def test_an_onset_and_its_alert_are_stored_together_before_either_is_shown(
    tmp_path: Path,
) -> None:
    """Also those that waited for a disk, in the order in which they came."""
    path = tmp_path / "monitor.db"
    stored: list[list[list[object]]] = []
    gate = SlowDisk()
    gate.recovered = []
    query = "SELECT id FROM {} ORDER BY rowid"

    def committed() -> None:
        stored.append([rows(path, query.format(it)) for it in ("events", "alerts")])

    store = make_store(path, rules=AlertOnEverything(), committed=committed)
    files = late([gate, store])
    ids = [f"session-street-{number}" for number in range(4)]
    for number in range(3):
        files.write([onset(number=number), frame(stop_seconds=4 + number)])
    assert not stored
    gate.answers.set()
    wait_until(lambda: files.queues["disk"] == 0)
    files.write([onset(number=3)])
    wait_until(lambda: files.queues["disk"] == 0)
    alerts = [f"{each}/onset" for each in ids]
    assert stored == [[ids[:n], alerts[:n]] for n in (1, 3, 4)]
    files.close()


def test_what_others_ask_for_is_done_between_two_calls(disk: SlowDisk) -> None:
    disk.answers.set()
    files = FileSinks([disk], CLOCK)
    files.write([event()])
    thread = files.ask(threading.current_thread, 5)
    assert (thread.name, len(disk.records)) == ("files", 1)
    with pytest.raises(ZeroDivisionError):
        files.ask(lambda: 1 // 0, 5)
    files.write([event(number=2)])
    assert len(disk.records) == 2
    files.close()


def test_what_a_disk_that_hangs_has_not_begun_is_never_done(disk: SlowDisk) -> None:
    files, done = late([disk]), list[int]()
    files.write([event()])
    with pytest.raises(StoreUnavailableError, match=r"0.01 s: nothing was changed"):
        files.ask(lambda: done.append(1), 0.01)
    disk.answers.set()
    files.ask(lambda: done.append(2), 5)
    assert done == [2]
    files.close()


def test_the_worker_waits_for_its_call_also_behind_what_others_ask(
    disk: SlowDisk,
) -> None:
    """What it shows afterwards is on the disk."""
    disk.answers.set()
    files, released = FileSinks([disk], CLOCK, late_seconds=5), threading.Event()
    files.write([])
    asking = threading.Thread(target=lambda: files.ask(lambda: released.wait(5), 5))
    asking.start()
    wait_until(lambda: files.queues["disk"] > 0)
    threading.Timer(0.1, released.set).start()
    files.write([event()])
    assert len(disk.records) == 1
    asking.join()
    files.close()


def test_nothing_is_asked_of_sinks_that_are_closed(disk: SlowDisk) -> None:
    files = FileSinks([disk], CLOCK)
    files.close()
    with pytest.raises(StoreUnavailableError, match="stops or reloads"):
        files.ask(lambda: None, 5)
