"""Events, gaps and scores are read by time, label, source and score."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.errors import StoreError
from monitor.records import Onset
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.store import make_store
from tests.support.timed import OPENED, event

HOP = 24_576 / 44_100


def at(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


def ids(found: object) -> list[str]:
    return [timed.record.id[-1] for timed in found]


def test_records_come_back_as_written(stored: Path) -> None:
    written = event(number=1, label="siren", start_seconds=10, seconds=5)
    with open_to_read(stored) as reader:
        read = next(reader.events())
    assert read.record == written.record
    assert (read.start_seconds, read.end_seconds) == (
        written.start_seconds,
        written.end_seconds,
    )
    assert read.start_utc is not None
    assert written.start_utc is not None
    assert abs(read.start_utc - written.start_utc) < timedelta(milliseconds=1)


def test_an_event_that_goes_on_comes_back_as_its_onset(stored: Path) -> None:
    with open_to_read(stored) as reader:
        (going_on,) = reader.events(labels=["drilling"])
    assert isinstance(going_on.record, Onset)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, "12345"),
        ({"since": at(0), "until": at(100)}, "1234"),
        ({"since": at(14), "until": at(100)}, "1234"),  # the first one lasts to 15
        ({"since": at(16), "until": at(100)}, "234"),
        ({"since": at(40), "until": at(44)}, "3"),
        ({"since": at(52), "until": at(100)}, "4"),  # it still goes on
        ({"until": at(20)}, "1"),
        ({"until": at(100), "labels": ["siren"]}, "13"),
        ({"until": at(100), "labels": ["siren", "drilling"]}, "134"),
        ({"sources": ["yard"]}, "2"),
        ({"min_score": 0.94}, ""),
        ({"labels": ["x' OR 1 --"]}, ""),
    ],
)
def test_only_the_chosen_events_are_read(
    stored: Path, choice: dict[str, object], expected: str
) -> None:
    with open_to_read(stored) as reader:
        found = sorted(ids(reader.events(**choice)))
    assert "".join(found) == expected


def test_score_frames_come_back_with_their_times(stored: Path) -> None:
    with open_to_read(stored) as reader:
        (row,) = reader.score_rows(at(0), at(100))
    assert [frame.stop for frame in row.frames()][:2] == [176_640, 201_216]
    assert abs(row.start - at(0)) < timedelta(milliseconds=2)
    assert abs(row.end - at(176_640 / 44_100 + 90 * HOP)) < timedelta(milliseconds=2)


def test_scores_of_another_time_are_not_read(stored: Path) -> None:
    with open_to_read(stored) as reader:
        assert not list(reader.score_rows(at(60), at(100)))
        assert not list(reader.score_rows(at(-100), at(-1)))


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database"), open_to_read(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no database" * 1000)
    with (
        pytest.raises(StoreError, match="is not a database"),
        open_to_read(tmp_path / "a") as reader,
    ):
        list(reader.events())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET top = '[[['",
        "UPDATE events SET top = '7'",
        "UPDATE events SET end_reason = 'because'",
        "UPDATE events SET start_ms = 9223372036854775807",
        "UPDATE sessions SET sample_rate = 0",
    ],
)
def test_invalid_rows_are_left_out_and_counted(
    stored: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(stored)) as connection, connection:
        connection.execute(change + " WHERE rowid = 1")
    with open_to_read(stored) as reader:
        found = list(reader.events())
    left_out = 5 - len(found)
    assert left_out >= 1
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"{left_out} rows of the database are invalid"
    )


def test_scores_beyond_the_calendar_are_left_out(stored: Path) -> None:
    with open_to_read(stored) as reader:
        count = len(list(reader.score_rows()))
    with closing(sqlite3.connect(stored)) as connection, connection:
        connection.execute("UPDATE scores SET start_ms = -9e18 WHERE id = 1")
    with open_to_read(stored) as reader:
        assert len(list(reader.score_rows())) == count - 1


@pytest.mark.parametrize("labels", ["[[[", "{}", "[1]", "7"])
def test_a_session_without_labels_is_one_sentence(stored: Path, labels: str) -> None:
    with closing(sqlite3.connect(stored)) as connection, connection:
        connection.execute("UPDATE sessions SET labels = ?", (labels,))
    with (
        open_to_read(stored) as reader,
        pytest.raises(StoreError, match="a session of the database is damaged"),
    ):
        reader.sessions()


READ_ONLY = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
exec "$2" -c '
import sys
from pathlib import Path
from monitor.sinks.store.queries import open_to_read
with open_to_read(Path(sys.argv[1])) as reader:
    print(len(list(reader.events())))
' "$1/monitor.db"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a folder: needs root")
def test_a_folder_that_is_mounted_read_only_can_be_read(tmp_path: Path) -> None:
    def read() -> str:
        script = [
            "unshare",
            "-m",
            "sh",
            "-c",
            READ_ONLY,
            "sh",
            tmp_path,
            sys.executable,
        ]
        result = subprocess.run(script, capture_output=True, text=True, check=False)
        if result.stderr.startswith(("mount:", "unshare:")):
            pytest.skip(f"cannot mount here: {result.stderr}")
        return result.stdout.strip() or result.stderr

    store = make_store(tmp_path / "monitor.db", FakeClock())
    store.write([event(number=1, start_seconds=10, seconds=5)])
    assert read() == "1"
    store.close()
    assert not (tmp_path / "monitor.db-wal").exists()
    assert read() == "1"


def test_a_monitor_that_opens_the_database_meanwhile_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read without a log, as it lies; what comes of that may be of two times."""
    make_store(path, FakeClock()).close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    stores: list[Store] = []

    def read(error: Exception | None) -> None:
        with open_to_read(path):
            stores.append(make_store(path, FakeClock()))
            if error is not None:
                raise error

    for error in (None, sqlite3.DatabaseError("database disk image is malformed")):
        with pytest.raises(StoreError, match="has just opened"):
            read(error)
        stores.pop().close()
    with open_to_read(path) as reader:
        assert list(reader.events()) == []
