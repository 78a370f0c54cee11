"""The time that was listened to: runs of the monitor, without gaps of the sources."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.records import Gap, Timed
from monitor.sinks.store.frame_rows import MAX_ROW_MS
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import moment_of, read_rows, text_of, to_ms

OFF = "off"
"""The reason of a time in which the monitor did not run; others are those of gaps."""

FRESH = timedelta(minutes=1)
"""A run that wrote to the database so lately is taken to go on."""

_RUNS = """
SELECT started_ms, coalesce(ended_ms, max(seen_ms, started_ms)), ended_ms IS NULL
FROM sessions ORDER BY started_ms
"""

_SCORED = """
SELECT source_name, start_ms, end_ms FROM scores_read
WHERE start_ms > :since - :longest AND start_ms < :until ORDER BY start_ms
"""

ADJOINING = timedelta(seconds=2)
"""Times missed that lie no further apart are one."""

Run = tuple[datetime, datetime]
"""Begin and end of a run of the monitor, UTC."""


@dataclass(frozen=True, slots=True)
class Missed:
    """A time in which a source was not listened to, or of an overload, in part."""

    source: str
    start: datetime
    end: datetime
    reason: str
    """`OFF`, or the reason of a gap."""

    seconds: float
    """The part of it that was not listened to: all, but of an overload."""

    def since(self, begin: datetime) -> "Missed":
        """Leave out what was before a time, which is not after its end."""
        start = max(self.start, begin)
        if start == self.start:
            return self
        share = (self.end - start) / (self.end - self.start)
        return replace(self, start=start, seconds=share * self.seconds)


def read_runs(reader: Reader, now: datetime, *, is_running: bool) -> list[Run]:
    """Return the runs of the monitor, in order.

    One that was killed ends where it last wrote to the database.  The newest goes on
    until `now` if it did so lately, or if the monitor `is_running`.
    """
    found = list(read_rows(reader.execute(_RUNS, {}), _read_run))
    runs = [(start, end) for start, end, _ in found]
    if found:
        start, end, is_open = found[-1]
        if is_running or (is_open and now - end < FRESH):
            runs[-1] = (start, max(end, now))
    return runs


def _read_run(row: sqlite3.Row) -> tuple[datetime, datetime, bool]:
    return moment_of(row[0]), moment_of(row[1]), bool(row[2])


def scored_seconds(reader: Reader, start: datetime, end: datetime) -> dict[str, float]:
    """Return by source the seconds of a time range that stored scores cover."""
    since, until = to_ms(start), to_ms(end)
    values = {"since": since, "until": until, "longest": MAX_ROW_MS}
    reached: dict[str, int] = {}
    found: Counter[str] = Counter()
    for source, began, ended in read_rows(reader.execute(_SCORED, values), _read_span):
        first = max(began, reached.get(source, since))
        found[source] += max(0, min(ended, until) - first)
        reached[source] = max(first, ended)
    return {source: covered / 1000 for source, covered in found.items()}


def _read_span(row: sqlite3.Row) -> tuple[str, int, int]:
    return text_of(row[0]), to_ms(moment_of(row[1])), to_ms(moment_of(row[2]))


def missed_times(
    reader: Reader,
    sources: Iterable[str],
    start: datetime,
    end: datetime,
    now: datetime,
    silent: Mapping[str, datetime] | None = None,
) -> list[Missed]:
    """Return what was not listened to in a time range, in order.

    Those are the gaps of all sources, and for these and `sources` the times in which
    the monitor did not run.  What is not over is no gap yet: `silent` are the sources
    without a sample `now`, and since when; None: no monitor is known to run.
    """
    found = (_of_gap(timed, start, end) for timed in reader.gaps(start, end))
    gaps = [each for each in found if each is not None]
    for source, since in (silent or {}).items():
        began = max([start, since, *(it.end for it in gaps if it.source == source)])
        seconds = (min(end, now) - began).total_seconds()
        if seconds > 0:
            gaps.append(Missed(source, began, min(end, now), "stalled", seconds))
    runs = read_runs(reader, now, is_running=silent is not None)
    names = {*sources, *(each.source for each in gaps)}
    off = [
        Missed(source, began, ended, OFF, (ended - began).total_seconds())
        for began, ended in _breaks(runs, start, end)
        for source in names
    ]
    return sorted(gaps + off, key=lambda each: (each.start, each.source))


def merged(found: Iterable[Missed]) -> list[Missed]:
    """Join the gaps of a source that adjoin for the same reason; all are in order."""
    newest: dict[tuple[str, str], int] = {}
    joined: list[Missed] = []
    for each in found:
        at = newest.get((each.source, each.reason), -1)
        if (
            at < 0
            or each.reason == OFF
            or each.start - (before := joined[at]).end > ADJOINING
        ):
            newest[each.source, each.reason] = len(joined)
            joined.append(each)
        else:
            seconds = before.seconds + each.seconds
            end = max(before.end, each.end)
            joined[at] = replace(before, end=end, seconds=seconds)
    return joined


def _of_gap(timed: Timed, start: datetime, end: datetime) -> Missed | None:
    gap = timed.record
    assert isinstance(gap, Gap)
    if timed.start_utc is None or timed.end_utc is None:
        return None
    began, ended = max(start, timed.start_utc), min(end, timed.end_utc)
    seconds = (ended - began).total_seconds()
    if seconds <= 0:
        return None
    if gap.left_out is not None:
        seconds *= gap.left_out / (gap.stop - gap.start)
    return Missed(gap.source, began, ended, gap.reason, seconds)


def _breaks(runs: Sequence[Run], start: datetime, end: datetime) -> Iterator[Run]:
    """Return the times between the runs."""
    reached = start
    for began, ended in [*runs, (end, end)]:
        if min(began, end) > reached:
            yield reached, min(began, end)
        reached = max(reached, ended)
