"""The newest of the live feed: levels of ten minutes, a picture of half a minute."""

import math
from collections import deque
from collections.abc import Sequence
from datetime import datetime

from monitor.records import Event, ScoreFrame, Timed
from monitor.sinks.status_client import Document
from monitor.text import rounded, utc_text

LEVEL_SECONDS = 1.0
MOST_LEVELS = 600
MOST_COLUMN_LINES = 60
"""Lines of the feed with columns, two a second."""

MOST_EVENTS = 30
"""Events that are kept, the newest: marks of a picture that shows half a minute."""


class _Source:
    """The levels and columns of one source, and the hops of the second that goes on."""

    def __init__(self) -> None:
        self.seconds: deque[tuple[datetime | None, float, float]] = deque(
            maxlen=MOST_LEVELS
        )
        self.columns: deque[Document] = deque(maxlen=MOST_COLUMN_LINES)
        self.events: deque[Document] = deque(maxlen=MOST_EVENTS)
        self._hops: list[tuple[float, float]] = []
        self._since = -math.inf

    def push(self, timed: Timed, frame: ScoreFrame) -> tuple[float, float] | None:
        end = timed.end_seconds
        if not 0 < end - self._since < 3 * LEVEL_SECONDS:  # the first, or after a gap
            self._hops, self._since = [], end
        self._hops.append((frame.level_dbfs, frame.laeq_db))
        if end - self._since < LEVEL_SECONDS:
            return None
        dbfs, laeq = zip(*self._hops, strict=True)
        self._hops, self._since = [], end
        mean = _energy_mean(dbfs), _energy_mean(laeq)
        self.seconds.append((timed.end_utc, *mean))
        return mean


class Recent:
    """Keeps the newest levels, columns and events; a reload does not end it."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def push(self, timed: Timed, frame: ScoreFrame) -> Document | None:
        """Take the level of the newest hop.  Worker's thread.

        Returns:
            The line of the live feed for the second that it completes, if any: the mean
            energy of its hops.
        """
        level = self._source(frame.source).push(timed, frame)
        if level is None:
            return None
        return {
            "type": "levels",
            "source": frame.source,
            "time": utc_text(timed.end_utc),
            "level_dbfs": rounded(level[0], 1),
            "laeq_db": rounded(level[1], 1),
        }

    def add_event(self, timed: Timed, event: Event) -> None:
        """Keep the bounds of an event that has ended.  Worker's thread."""
        if timed.start_utc is not None:
            self._source(event.source).events.append(
                {
                    "id": event.id,
                    "label": event.label,
                    "start": utc_text(timed.start_utc),
                    "end": utc_text(timed.end_utc),
                }
            )

    def add_columns(self, line: Document) -> None:
        """Keep a line with columns.  Thread of the feed."""
        self._source(line["source"]).columns.append(line)

    def forget_columns(self) -> None:
        """Nobody reads the feed any more.  Thread of the feed."""
        for source in self._sources.copy().values():
            source.columns.clear()

    def forget(self) -> None:
        """Forget everything: the user has deleted what was detected.  Any thread."""
        self._sources.clear()

    def _source(self, name: str) -> _Source:
        # Two threads may ask at once: the one that adds it first counts.
        return self._sources.get(name) or self._sources.setdefault(name, _Source())

    def document(self) -> Document:
        """Return levels, columns and events by source.  Any thread.

        Levels are [time, dBFS, dB(A)], columns as in the lines of the feed; of these
        there are some only while the feed has a reader.
        """
        return {
            "sources": [
                {
                    "name": name,
                    "levels": [
                        [utc_text(at), rounded(dbfs, 1), rounded(laeq, 1)]
                        for at, dbfs, laeq in source.seconds.copy()
                    ],
                    "columns": [
                        {key: line[key] for key in ("time", "count", "data")}
                        for line in source.columns.copy()
                    ],
                    "events": list(source.events.copy()),
                }
                for name, source in self._sources.copy().items()
            ]
        }


def _energy_mean(levels_db: Sequence[float]) -> float:
    finite = [10 ** (level / 10) for level in levels_db if math.isfinite(level)]
    if not finite:
        return math.nan
    return 10 * math.log10(max(sum(finite) / len(finite), 1e-12))
