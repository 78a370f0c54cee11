"""Monitors that share one id, as with a copied card: their digests alternate."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.sinks.publish.record import DigestRecord, RecordMessage

ALTERNATIONS = 3
ALTERNATION_TIME = timedelta(minutes=10)
"""So many digests in so long that come from an earlier run than the one before show two
monitors: one that was restarted never returns to its earlier run."""

SAME_START = timedelta(seconds=5)
"""Most by which the start of one run differs from digest to digest."""

MOST_RUNS = 4
MOST_MONITORS = 20_000

SHARED = (
    "two monitors send under this id by turns: give each its own `publish.monitor`; on "
    "a copied card, delete the database and the files of the state folder too"
)


@dataclass(slots=True)
class _Run:
    epoch: str
    start: datetime
    clock: datetime
    """Time of its newest digest."""


class SharedIds:
    """The latest runs of each monitor that sent digests; used by one thread."""

    def __init__(self) -> None:
        """Know no monitor."""
        self._runs: dict[str, tuple[deque[_Run], deque[datetime]]] = {}

    def is_shared(self, message: RecordMessage) -> bool:
        """Take the next message; return whether it shows that its id is shared."""
        it = message.contents
        if not isinstance(it, DigestRecord) or it.uptime_seconds is None:
            return False
        if message.sent - it.clock > SAME_START:
            return False  # it is an old one, which waited or is sent again
        if len(self._runs) >= MOST_MONITORS:
            self._runs.clear()
        start = it.clock - timedelta(seconds=it.uptime_seconds)
        runs, alternations = self._runs.setdefault(
            message.monitor, (deque(maxlen=MOST_RUNS), deque(maxlen=ALTERNATIONS))
        )
        found = _find(runs, message.epoch, start)
        if found is None:
            runs.append(_Run(message.epoch, start, it.clock))
            return False
        if it.clock <= found.clock:
            return False  # it has come before
        found.start, found.clock = start, it.clock
        if found is runs[-1]:
            return False
        runs.remove(found)
        runs.append(found)
        alternations.append(it.clock)
        is_full = len(alternations) == ALTERNATIONS
        return is_full and abs(alternations[-1] - alternations[0]) < ALTERNATION_TIME


def _find(runs: Sequence[_Run], epoch: str, start: datetime) -> _Run | None:
    for run in runs:
        if run.epoch == epoch and abs(run.start - start) <= SAME_START:
            return run
    return None
