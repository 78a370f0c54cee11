import itertools
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.event_log import EventLog
from tests.support.timed import OPENED, event, frame, gap, onset, state, statistics

KIB = 1 / 1024


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    return [line["id"].rsplit("-", 1)[1] for line in lines_of(path)]


Open = Callable[..., EventLog]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Open]:
    """Opens event logs in the test's folder, and closes them at its end."""
    opened = []

    def open_one(name: str = "events.jsonl", **settings: Any) -> EventLog:
        log = EventLog(tmp_path / name, **{"rotate_mib": 50.0, "keep": 5, **settings})
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        log.close()


def test_onsets_events_and_gaps_are_logged_and_nothing_else(
    open_log: Open, tmp_path: Path
) -> None:
    open_log().write([state(), frame(), onset(), frame(), event(), gap()])
    types = [line["type"] for line in lines_of(tmp_path / "events.jsonl")]
    assert types == ["onset", "event", "gap"]


def test_lines_are_in_the_file_when_write_returns(
    open_log: Open, tmp_path: Path
) -> None:
    log = open_log()
    for number in range(3):
        log.write([event(number=number)])
        assert len(lines_of(tmp_path / "events.jsonl")) == number + 1


def test_after_logrotate_and_sighup_a_new_file_is_written(
    open_log: Open, tmp_path: Path
) -> None:
    log = open_log()
    log.write([event(number=1)])
    (tmp_path / "events.jsonl").rename(tmp_path / "events.jsonl.1")
    log.reopen()
    assert (tmp_path / "events.jsonl").read_bytes() == b""
    log.write([event(number=2)])
    assert ids(tmp_path / "events.jsonl.1") == ["1"]
    assert ids(tmp_path / "events.jsonl") == ["2"]


def test_records_wait_in_memory_while_the_file_cannot_be_written(
    open_log: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Failure and recovery are each logged once; nothing is lost."""
    path = tmp_path / "events.jsonl"
    path.mkdir()
    log = open_log()
    with caplog.at_level(logging.INFO):
        for number in range(5):
            log.write([event(number=number)])
            log.report(statistics("street"))
        assert log.queues == {"event-log": 5}
        path.rmdir()
        log.report(statistics("street"))
    assert log.queues == {"event-log": 0}
    assert ids(path) == ["0", "1", "2", "3", "4"]
    first, second = (record.getMessage() for record in caplog.records)
    assert "Is a directory" in first
    assert "5 records came from memory, 0 are lost" in second


def test_when_memory_is_full_the_oldest_are_lost_and_counted(
    open_log: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    path.mkdir()
    log = open_log(memory_records=3)
    for number in range(8):
        log.write([event(number=number)])
    assert (log.queues, log.lost_records) == ({"event-log": 3}, 5)
    path.rmdir()
    log.write([event(number=8)])
    assert ids(path) == ["5", "6", "7", "8"]
    assert "4 records came from memory, 5 are lost" in caplog.text
    assert len(caplog.records) == 3


def test_a_batch_larger_than_memory_is_written_whole(
    open_log: Open, tmp_path: Path
) -> None:
    log = open_log(memory_records=2)
    log.write([event(number=number) for number in range(10)])
    assert len(ids(tmp_path / "events.jsonl")) == 10
    assert log.lost_records == 0


def test_records_that_could_not_be_written_are_logged_at_the_end(
    open_log: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "events.jsonl").mkdir()
    log = open_log()
    log.write([event(), event()])
    log.close()
    assert "2 records could not be written and are lost" in caplog.text


def test_a_log_that_cannot_be_opened_at_start_is_opened_later(
    open_log: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").write_text("in the way")
    log = open_log("folder/events.jsonl")
    assert "cannot be written" in caplog.text
    log.write([event(number=1)])
    (tmp_path / "folder").unlink()
    log.write([event(number=2)])
    assert ids(tmp_path / "folder" / "events.jsonl") == ["1", "2"]


class Tail:
    """A log shipper: reads each line of `path` once, also over rotations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """Return the lines appended since the last call, decoded."""
        found = self._read_on()
        while (following := self._following()) is not None:
            # Lines may have come between reading and looking for the next file.
            found += self._read_on()
            assert self._rest == b"", "a rotated file ends in the middle of a line"
            os.close(self._descriptor)
            self._descriptor = following
            found += self._read_on()
        return found

    def close(self) -> None:
        os.close(self._descriptor)

    def _read_on(self) -> list[dict[str, Any]]:
        data = self._rest
        while block := os.read(self._descriptor, 65_536):
            data += block
        *lines, self._rest = data.split(b"\n")
        return [json.loads(line) for line in lines]

    def _following(self) -> int | None:
        """Open the file that is one younger than the one being read, if there is one.

        None also in the middle of a rotation; then the next call finds it.
        """
        mine = os.fstat(self._descriptor)
        younger = self._path
        for number in itertools.count(1):
            name = self._path.with_name(f"{self._path.name}.{number}")
            try:
                if _is(name, mine):
                    following = os.open(younger, os.O_RDONLY)
                    if _is(name, mine):
                        return following
                    os.close(following)  # renamed meanwhile: it may be one too young
                    return None
            except FileNotFoundError:
                return None
            younger = name
        raise AssertionError


def _is(name: Path, status: os.stat_result) -> bool:
    return os.path.samestat(name.stat(), status)


def test_a_reader_that_follows_the_log_gets_every_line_once(
    open_log: Open, tmp_path: Path
) -> None:
    """It reads while lines are written and files rotated; no line is ever torn."""
    log = open_log(rotate_mib=4 * KIB, keep=1000)
    count = 600
    done = threading.Event()

    def write() -> None:
        for number in range(0, count, 3):
            log.write([event(number=number + one) for one in range(3)])
        done.set()

    writer = threading.Thread(target=write)
    tail = Tail(tmp_path / "events.jsonl")
    writer.start()
    found = []
    while not done.is_set():
        found += tail.read()
    writer.join()
    found += tail.read()
    tail.close()
    assert [line["id"] for line in found] == [
        f"session-street-{number}" for number in range(count)
    ]
    assert len(list(tmp_path.iterdir())) > 20


def test_what_the_user_deleted_is_not_written_from_memory(
    open_log: Open, tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").mkdir()
    log = open_log(is_forgotten=lambda timed: timed.record == event(number=4).record)
    log.write([event(number=n, start_seconds=10 * n, seconds=5) for n in (1, 2, 3)])
    log.forget(OPENED + timedelta(seconds=18), OPENED + timedelta(seconds=28))
    (tmp_path / "events.jsonl").rmdir()
    log.write([event(number=4)])
    log.report(statistics())
    lines = lines_of(tmp_path / "events.jsonl")
    assert [line["id"][-1] for line in lines] == ["1", "3"]
