"""The service manager learns that every thread moves, and how the monitor is doing."""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.runtime.supervisor import ServiceManager, Summary, Supervisor
from monitor.statistics import SourceStatistics, Statistics
from tests.support.clock import FakeClock
from tests.support.timed import event


@pytest.fixture(params=["file", "abstract"])
def listening(request, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket like that of systemd, and its name in $NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "file" else f"@{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if name[0] == "@" else name)
        listener.settimeout(5)
        yield listener, name


def test_every_message_arrives_as_a_datagram_of_its_own(listening):
    listener, name = listening
    manager = ServiceManager({"NOTIFY_SOCKET": name})
    manager.status("one\ntwo")
    manager.ready()
    before = time.monotonic()
    manager.reloading()
    manager.alive()
    manager.ready()
    manager.stopping()
    messages = [listener.recv(4096).decode() for _ in range(6)]
    head, _, microseconds = messages.pop(2).rpartition("=")
    assert head == "RELOADING=1\nMONOTONIC_USEC"
    assert before - 1e-3 <= int(microseconds) / 1e6 <= time.monotonic()
    assert messages == [
        "STATUS=one two",
        "READY=1",
        "WATCHDOG=1",
        "READY=1",
        "STOPPING=1",
    ]


def test_nobody_is_reported_where_nobody_listens(caplog):
    ServiceManager({}).ready()
    assert not caplog.records


def test_a_service_manager_that_has_gone_harms_nothing_and_is_said_once(
    tmp_path, caplog
):
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    manager.ready()
    manager.alive()
    assert len(caplog.records) == 1


def test_a_service_manager_that_hangs_is_not_waited_for(tmp_path, caplog):
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        manager = ServiceManager({"NOTIFY_SOCKET": name})
        for _ in range(10_000):
            manager.alive()  # the listener's queue is full after some
            if caplog.records:
                break
    assert "cannot be reached" in caplog.text


def test_programs_that_the_monitor_starts_cannot_speak_in_its_name():
    environ = {"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
    ServiceManager(environ)
    assert environ == {}


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_counts_if_it_is_meant_for_this_process(environ, seconds):
    assert ServiceManager(dict(environ)).watchdog_seconds == seconds


def test_a_monitor_that_ends_may_take_longer_than_its_own_watchdog(tmp_path):
    code = (
        "import time; from monitor.runtime.supervisor import ServiceManager\n"
        "it = ServiceManager({}, 0.3); it.ready(); it.alive(); it.stopping()\n"
        "time.sleep(1)"
    )
    assert subprocess.call([sys.executable, "-c", code], timeout=20) == 0
    code = code.replace("it.stopping()", "")
    assert subprocess.call([sys.executable, "-c", code], timeout=20) == 1


WATCHDOG_SECONDS = 10.0


class Bench:
    """A supervisor of a capture and a worker, and its messages."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self._listener = listener
        self.clock = FakeClock()
        self.turns = {"capture-street": 0.0, "worker": 0.0}
        self.sentence = "well"
        environ = {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": f"{WATCHDOG_SECONDS * 1e6:.0f}",
        }
        manager = ServiceManager(environ)
        self.supervisor = Supervisor(
            manager, self.clock, lambda: self.turns, lambda: self.sentence
        )
        self.supervisor.start()

    def go_on(self, seconds: float, *, moving: tuple[str, ...]) -> list[str]:
        """Let time pass while parts move; return what is reported meanwhile."""
        reported: list[str] = []
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)
            self.turns.update(dict.fromkeys(moving, self.clock.monotonic()))
            self.supervisor.look()
            reported += self.reported()
        return reported

    def reported(self) -> list[str]:
        messages = []
        try:
            while True:
                messages.append(self._listener.recv(4096).decode())
        except BlockingIOError:
            return messages


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield Bench(tmp_path, listener)


def test_ready_is_reported_once_at_the_start(bench):
    assert bench.reported() == ["STATUS=starting", "READY=1"]
    assert "READY=1" not in bench.go_on(20, moving=("capture-street", "worker"))


def test_while_all_move_the_watchdog_is_put_off_in_good_time(bench):
    reported = bench.go_on(60, moving=("capture-street", "worker"))
    puts = reported.count("WATCHDOG=1")
    assert 60 / WATCHDOG_SECONDS * 2 < puts <= 60 / WATCHDOG_SECONDS * 4


@pytest.mark.parametrize(
    ("moving", "hanging"),
    [
        (("worker",), "capture-street"),
        (("capture-street",), "worker"),
        ((), "capture-street and worker"),
    ],
)
def test_one_part_that_hangs_is_enough_and_is_named_once(
    bench, caplog, moving, hanging
):
    bench.go_on(10, moving=("capture-street", "worker"))
    # What moved just after the last message counts for one more.
    bench.go_on(3, moving=moving)
    caplog.clear()
    assert "WATCHDOG=1" not in bench.go_on(30, moving=moving)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{hanging} did not move for")


def test_what_moves_again_is_believed(bench):
    bench.go_on(8, moving=("worker",))
    assert "WATCHDOG=1" in bench.go_on(1, moving=("capture-street", "worker"))


def test_a_recording_that_is_over_need_not_move(bench):
    bench.go_on(5, moving=("capture-street", "worker"))
    del bench.turns["capture-street"]
    assert bench.go_on(10, moving=("worker",)).count("WATCHDOG=1") >= 2


def test_a_status_is_reported_when_it_changes(bench):
    bench.reported()
    first = bench.go_on(30, moving=())
    bench.sentence = "better"
    assert [first, bench.go_on(30, moving=())] == [["STATUS=well"], ["STATUS=better"]]


def test_a_reload_has_a_begin_and_an_end(bench):
    bench.reported()
    bench.supervisor.reloading()
    status, begin = bench.reported()
    assert status == "STATUS=reloading the configuration"
    assert begin.startswith("RELOADING=1\nMONOTONIC_USEC=")
    bench.supervisor.reloaded("")
    assert bench.reported() == ["STATUS=well", "READY=1"]


def test_a_rejection_is_reported_until_the_next_reload(bench):
    bench.supervisor.reloading()
    bench.reported()
    bench.supervisor.reloaded("rejected")
    assert bench.reported() == ["STATUS=rejected; well", "READY=1"]
    bench.sentence = "better"
    assert "STATUS=rejected; better" in bench.go_on(10, moving=())
    bench.supervisor.reloading()
    bench.supervisor.reloaded("")
    assert bench.reported()[-2:] == ["STATUS=better", "READY=1"]


def test_the_end_is_reported(bench):
    bench.reported()
    bench.supervisor.stop()
    assert bench.reported() == ["STATUS=stopping", "STOPPING=1"]


def statistics(latency: float, **states: str) -> Statistics:
    return Statistics(
        tuple(
            SourceStatistics(name, state, 0, 0, 0, 0) for name, state in states.items()
        ),
        latency,
        latency,
        0.1,
    )


def test_the_sentence_says_what_a_person_wants_to_know():
    clock = FakeClock()
    clock.wall = datetime(2026, 3, 1, 11, 5, tzinfo=UTC)
    began = clock.wall.astimezone()
    summary = Summary(clock)
    assert summary.sentence() == "starting"
    summary.report(statistics(float("nan"), street="opening"))
    since = f"since {began:%H:%M}"
    assert (
        summary.sentence()
        == f"listening to 0 of 1 sources (street opening); 0 events {since}"
    )
    summary.write([event()])
    summary.report(statistics(0.21, street="listening", yard="waiting"))
    assert summary.sentence() == (
        f"listening to 1 of 2 sources (yard waiting); 1 event {since}; latency 0.2 s"
    )


def test_events_are_counted_by_the_day():
    clock = FakeClock()
    summary = Summary(clock)
    summary.report(statistics(0.2, street="listening"))
    summary.write([event(), event()])
    clock.advance(86_400)
    assert "; 0 events today;" in summary.sentence()
    summary.write([event()])
    assert "; 1 event today;" in summary.sentence()
