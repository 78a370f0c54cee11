"""Plain lines, one for each record, for pipes and for journald."""

import logging
import os
from collections.abc import Sequence
from typing import TextIO

from monitor.records import Event, Gap, Health, Onset, ScoreFrame, SourceState, Timed
from monitor.sinks.sink import Sink
from monitor.text import GAP_REASONS, duration, level, moment, printable

logger = logging.getLogger(__name__)


class Plain(Sink):
    """Prints a line for every onset, event, gap, state of a source and its health.

    Each line is flushed.  When nobody reads any more, printing stops and the monitor
    goes on; a reader that is merely slow is waited for.
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
        """Flush; what cannot be written by now is given up."""
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
            logger.warning("nobody reads the output any more; printing no more lines")
            self._give_up()
        except OSError as error:
            if not self._is_failing:
                logger.warning("lines cannot be printed: %s", error.strerror)
            self._is_failing = True

    def _encodable(self, line: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        return line.encode(encoding, "backslashreplace").decode(encoding)

    def _give_up(self) -> None:
        """Send what the stream still holds to nowhere.

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
    """Say a record in one line, its fields two spaces apart; None for score frames.

    The line begins with the moment the record is about: the start of an onset, the end
    of an event, the start of a gap, the end of a trouble that is cleared.
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
