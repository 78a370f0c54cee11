import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.sinks.console.plain import PlainConsole, format_line
from tests.support.health import trouble
from tests.support.timed import event, frame, gap, onset, state, statistics

WRITE_TO_STDOUT = """
import sys
from monitor.sinks.console.plain import PlainConsole
from tests.support.timed import event
sink = PlainConsole(sys.stdout)
sink.write([event()] * int(sys.argv[1]))
sys.stdin.readline()  # until the test has closed its end
sink.write([event()] * 3)
sink.close()
sys.exit(7)
"""


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is UTC in this module."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("timed", "line"),
    [
        (
            onset(),
            "2026-11-23 05:56:13.4  street  siren  began  score 0.93  -21 dBFS",
        ),
        (
            event(),
            "2026-11-23 05:56:20.1  street  siren  ended after 6.7 s  score 0.93  "
            "-21 dBFS",
        ),
        (
            gap(),
            "2026-11-23 05:56:30.0  street  gap  lost 2.3 s  the source was gone",
        ),
        (
            state(name="waiting", detail="no microphone 'default'"),
            "2026-11-23 05:56:00.0  street  waiting  no microphone 'default'",
        ),
        (state(), "2026-11-23 05:56:00.0  street  listening"),
        (
            event(opened=None),
            "0:00:20.1  street  siren  ended after 6.7 s  score 0.93  -21 dBFS",
        ),
    ],
)
def test_each_record_is_one_line(timed: object, line: str) -> None:
    assert format_line(timed) == line  # type: ignore[arg-type]


def test_score_frames_and_statistics_print_nothing() -> None:
    stream = io.StringIO()
    sink = PlainConsole(stream)
    sink.write([frame()])
    sink.report(statistics("street"))
    sink.close()
    assert stream.getvalue() == ""


def test_health_is_a_line_when_raised_and_a_line_when_cleared() -> None:
    raised, cleared = format_line(trouble()), format_line(trouble("cleared", detail=""))
    assert raised is not None
    assert raised.endswith("street  clipping  raised  turn the gain down")
    assert cleared is not None
    assert cleared.endswith("street  clipping  cleared after 10.0 s")


def test_a_detail_of_two_lines_stays_one_line() -> None:
    line = format_line(state(detail="first\nsecond\x1b[2J"))
    assert line is not None
    assert line.isprintable()


def test_every_line_is_flushed() -> None:
    """A reader at the other end of a pipe has the line when write returns."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reader, os.fdopen(write_end, "w") as writer:
        PlainConsole(writer).write([onset()])
        os.set_blocking(reader.fileno(), False)
        assert reader.read().count(b"\n") == 1


def test_a_label_that_the_stream_cannot_encode_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    PlainConsole(stream).write([onset(label="Säge")])
    assert b"S\\xe4ge" in raw.getvalue()


@pytest.mark.parametrize("lines_before", [0, 5])
def test_a_closed_pipe_stops_the_printing_and_nothing_else(lines_before: int) -> None:
    """Not even the flush at the exit of Python complains."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_TO_STDOUT, str(lines_before)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(lines_before):
            assert "siren" in process.stdout.readline()
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        complaints = process.stderr.read()
        assert process.wait(20) == 7
    assert complaints.splitlines() == [
        "the output is closed; no lines are printed any more"
    ]


def test_a_full_disk_is_logged_once_and_does_not_stop_the_monitor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING), Path("/dev/full").open("w") as stream:
        sink = PlainConsole(stream)
        for _ in range(3):
            sink.write([event()])
        sink.close()
    assert [record.getMessage() for record in caplog.records] == [
        "lines cannot be printed: No space left on device"
    ]


def test_a_closed_stream_stops_the_printing_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = io.StringIO()
    sink = PlainConsole(stream)
    stream.close()
    sink.write([event(), event()])
    sink.write([event()])
    sink.close()
    assert caplog.messages == ["the output is closed; no lines are printed any more"]
