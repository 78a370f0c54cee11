"""The plain console: a line for each record, for pipes and for journald."""

import logging
import os
from collections.abc import Sequence
from typing import TextIO

from monitor.records import Event, Gap, Health, Onset, ScoreFrame, SourceState, Timed
from monitor.sinks.sink import Sink
from monitor.text import GAP_REASONS, duration, level, moment, printable

logger = logging.getLogger(__name__)


class PlainConsole(Sink):
    """Prints a line for every onset, event, gap, source state and change of health.

    Each line is flushed.  When the reader has closed the pipe, printing stops and the
    monitor goes on; a slow reader makes it wait.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_open = True
        self._is_failing = False

    def write(self, batch: Sequence[Timed]) -> None:
        """Print the records of `batch`."""
        for timed in batch:
            line = format_line(timed)
            if line is not None:
                self._print(line)

    def close(self) -> None:
        """Flush; lines that cannot be written now are lost."""
        try:
            if self._is_open:
                self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def _print(self, line: str) -> None:
        if not self._is_open:
            return
        try:
            self._stream.write(self._encodable(line) + "\n")
            self._stream.flush()
            self._is_failing = False
        except (BrokenPipeError, ValueError):  # ValueError: the stream is closed
            logger.warning("the output is closed; no lines are printed any more")
            self._give_up()
        except OSError as error:
            if not self._is_failing:
                logger.warning("lines cannot be printed: %s", error.strerror)
            self._is_failing = True

    def _encodable(self, line: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        return line.encode(encoding, "backslashreplace").decode(encoding)

    def _give_up(self) -> None:
        """Discard what the stream still holds.

        Python flushes the standard output once more at its exit; that must not fail.
        """
        self._is_open = False
        try:
            target = self._stream.fileno()
        except (OSError, ValueError):
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, target)
        os.close(nowhere)


def format_line(timed: Timed) -> str | None:
    """Format a record as one line, fields two spaces apart; None for score frames.

    The line begins with a time: the start of an onset, a gap or health that is raised,
    the end of an event or of health that is cleared.
    """
    record = timed.record
    if isinstance(record, ScoreFrame):
        return None
    at_end = isinstance(record, Event) or (
        isinstance(record, Health) and record.state == "cleared"
    )
    when = (
        moment(timed.end_seconds, timed.end_utc)
        if at_end
        else moment(timed.start_seconds, timed.start_utc)
    )
    return printable("  ".join([when, record.source, *_fields(record, timed)]))


def _fields(
    record: Onset | Event | Gap | Health | SourceState, timed: Timed
) -> list[str]:
    seconds = timed.end_seconds - timed.start_seconds
    match record:
        case SourceState():
            return [record.state, *([record.detail] if record.detail else [])]
        case Gap():
            return ["gap", f"lost {seconds:.1f} s", GAP_REASONS[record.reason]]
        case Health():
            is_over = record.state == "cleared"
            state = f"cleared after {duration(seconds)}" if is_over else "raised"
            return [record.kind, state, *([record.detail] if record.detail else [])]
        case Onset():
            return [record.label, "began", *_measures(record)]
        case Event():
            reason = [] if record.end_reason == "offset" else [f"({record.end_reason})"]
            ended = f"ended after {seconds:.1f} s"
            return [record.label, ended, *_measures(record), *reason]


def _measures(record: Onset | Event) -> list[str]:
    return [f"score {record.peak_score:.2f}", f"{level(record.level_dbfs)} dBFS"]
