"""Asking a monitor, or what is left of one, how it is doing."""

import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from monitor.sinks.status_socket import Status, UnixSocket, inquire
from tests.support.broker import wait_until
from tests.support.vitals import Patient


@contextmanager
def answering(patient: Patient, path: Path) -> Iterator[Status]:
    """A status sink at `path` that has begun to answer."""
    sink = Status(patient.vitals, path)
    try:
        sink.report(patient.hear())
        wait_until(lambda: inquire([path])["running"])
        yield sink
    finally:
        sink.close()


@contextmanager
def mute(path: Path, word: bytes = b"") -> Iterator[None]:
    """Somebody who listens at `path`, says `word` and no more."""
    door, over = UnixSocket(path), threading.Event()
    listener = door.open()

    def serve() -> None:
        visitor, _ = listener.accept()
        with visitor:
            visitor.sendall(word)
            over.wait(10)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        door.close()


def test_who_asks_gets_one_document(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    patient = Patient(tmp_path)
    with answering(patient, path):
        told = inquire([tmp_path / "none.sock", path])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told["schema"] == 1
    assert told["running"]
    assert told["listening"]
    assert told["pid"] == 4711
    assert not path.exists()


def test_it_answers_while_the_worker_hangs(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    patient = Patient(tmp_path)
    with answering(patient, path):
        patient.clock.advance(60)
        told = inquire([path])
    assert told["running"]
    assert not told["listening"]
    assert "the analysis hangs" in told["sentence"]


def test_who_connects_and_reads_nothing_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with answering(Patient(tmp_path), path):
        idlers = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for idler in idlers:
            idler.connect(str(path))
        assert inquire([path])["listening"]
        for idler in idlers:
            idler.close()


def test_without_a_monitor_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    places = [tmp_path / "none.sock", tmp_path / "a file" / "none.sock"]
    told = inquire(places)
    assert told == {
        "schema": 1,
        "running": False,
        "listening": False,
        "sentence": "the monitor is not running: there is no "
        f"{places[0]} or {places[1]}",
        "pid": None,
    }


def test_a_monitor_that_was_killed_is_told_from_one_that_was_stopped(
    tmp_path: Path,
) -> None:
    path = tmp_path / "status.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.close()
    told = inquire([path])
    assert not told["running"]
    assert "it was killed" in told["sentence"]
    with answering(Patient(tmp_path), tmp_path / "other.sock"):
        assert inquire([path, tmp_path / "other.sock"])["listening"]


@pytest.mark.parametrize("word", [b"", b'{"schema": 1, '])
def test_one_that_hangs_is_told_in_time(tmp_path: Path, word: bytes) -> None:
    path = tmp_path / "status.sock"
    with mute(path, word):
        began = monotonic()
        told = inquire([path], 0.3)
        assert monotonic() - began < 5
    assert told["running"]
    assert not told["listening"]
    assert told["pid"] == os.getpid()
    assert "does not answer within 0.3 s" in told["sentence"]


def test_a_stopped_process_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    code = (
        "import socket, sys\nlistener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind(sys.argv[1])\nlistener.listen(1)\nprint(flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        told = inquire([path], 0.3)
        process.kill()
    assert told["sentence"] == (
        f"the monitor (process {process.pid}) is stopped by a signal: it does nothing "
        "until SIGCONT"
    )


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (b"hello\n", "gave no answer that makes sense"),
        (b"[1]\n", "of another version"),
        (b'{"schema": 2}\n', "of another version"),
    ],
)
def test_who_is_no_monitor_is_not_believed(
    tmp_path: Path, word: bytes, sentence: str
) -> None:
    path = tmp_path / "status.sock"
    door = UnixSocket(path)
    listener = door.open()

    def serve() -> None:
        visitor, _ = listener.accept()
        visitor.sendall(word)
        visitor.close()

    thread = threading.Thread(target=serve)
    thread.start()
    told = inquire([path])
    thread.join()
    door.close()
    assert sentence in told["sentence"]
    assert not told["listening"]


def test_a_place_that_is_taken_is_said_once_and_the_monitor_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.sinks.status_socket.RETRY_SECONDS", 0.01)
    path = tmp_path / "status.sock"
    first, second = Patient(tmp_path), Patient(tmp_path)
    second.daemon.pid = 4712
    with answering(first, path):
        late = Status(second.vitals, path)
        late.report(second.hear())
        wait_until(lambda: "another monitor answers there" in caplog.text)
        assert inquire([path])["pid"] == 4711
    wait_until(lambda: inquire([path])["pid"] == 4712)
    late.close()
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1


def test_a_folder_that_cannot_be_is_said_and_the_monitor_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    patient = Patient(tmp_path)
    sink = Status(patient.vitals, tmp_path / "state" / "status.sock")
    sink.report(patient.hear())
    wait_until(lambda: "set status.socket to another path" in caplog.text)
    sink.report(patient.hear())
    sink.close()


def test_the_answer_is_one_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with answering(Patient(tmp_path), path), socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(path))
        with visitor.makefile("rb") as answer:
            line, rest = answer.readline(), answer.read()
    assert json.loads(line)["schema"] == 1
    assert rest == b""
