"""The plain console: a line for each record, for pipes and for journald."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TextIO

from monitor.records import Event, Gap, Health, Onset, ScoreFrame, SourceState, Timed
from monitor.sinks.sink import Sink
from monitor.text import GAP_REASONS, duration, level, local_time, moment, printable


class PlainConsole(Sink):
    """Prints a line for every onset, event, gap, source state and change of health."""

    def __init__(self, stream: TextIO, utc: Callable[[], datetime]) -> None:
        """Print on `stream`, which must not wait for its reader: see `HandOver`."""
        self._stream = stream
        self._utc = utc

    def write(self, batch: Sequence[Timed]) -> None:
        """Print the records of `batch`."""
        for timed in batch:
            line = format_line(timed, self._utc())
            if line is not None:
                self._stream.write(line + "\n")


def format_line(timed: Timed, now: datetime) -> str | None:
    """Format a record as one line, fields two spaces apart; None for score frames.

    The line begins with the time `now`, as the lines of the log do; the begin of the
    sound stands after the state.
    """
    record = timed.record
    if isinstance(record, ScoreFrame):
        return None
    fields = [local_time(now), record.source, *_fields(record, timed, now)]
    return printable("  ".join(fields))


def _fields(
    record: Onset | Event | Gap | Health | SourceState, timed: Timed, now: datetime
) -> list[str]:
    seconds = timed.end_seconds - timed.start_seconds
    start = moment(timed.start_seconds, timed.start_utc)
    start = start.removeprefix(f"{now.astimezone():%Y-%m-%d} ")
    match record:
        case SourceState():
            return [record.state, *([record.detail] if record.detail else [])]
        case Gap():
            lost = f"lost {seconds:.1f} s from {start}"
            if timed.left_out_seconds is not None:
                part = f"{timed.left_out_seconds:.1f} of {seconds:.1f} s"
                verb = "left out" if record.reason == "overload" else "lost"
                lost = f"{verb} {part} from {start}"
            return ["gap", lost, GAP_REASONS[record.reason]]
        case Health():
            is_over = record.state == "cleared"
            state = f"cleared after {duration(seconds)}" if is_over else "raised"
            detail = [record.detail] if record.detail else []
            return [record.kind, f"{state} from {start}", *detail]
        case Onset():
            return [record.label, f"began at {start}", *_measures(record)]
        case Event():
            reason = [] if record.end_reason == "offset" else [f"({record.end_reason})"]
            ended = f"ended after {seconds:.1f} s from {start}"
            return [record.label, ended, *_measures(record), *reason]


def _measures(record: Onset | Event) -> list[str]:
    return [f"score {record.peak_score:.2f}", f"{level(record.level_dbfs)} dBFS"]
