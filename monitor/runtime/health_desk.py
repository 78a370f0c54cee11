"""The desk: where any thread says that something is wrong, and when it is over."""

import threading
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from monitor.records import EVERY_SOURCE, Health, HealthKind, HealthState


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told of health, without its place on the timeline."""

    kind: HealthKind
    state: HealthState
    detail: str
    """A sentence for the operator, maybe empty."""

    source: str = EVERY_SOURCE


class HealthDesk:
    """Takes notices of any thread, and hands them as records to the worker.

    Saying the same again changes nothing: only the first `raised` and the first
    `cleared` after it become records.  Of what is said of one thing before the worker
    comes by, the newest counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notices: dict[tuple[str, HealthKind], Notice] = {}
        self._raised: dict[tuple[str, HealthKind], Health] = {}

    def post(self, notice: Notice) -> None:
        """Say that something is wrong, or over.  Any thread; never waits."""
        with self._lock:
            self._notices[notice.source, notice.kind] = notice

    def drain(
        self,
        place: Callable[[str], int | None],
        ignored: Collection[HealthKind] = (),
    ) -> list[Health]:
        """Make records of the notices since the last call.  Worker's thread.

        Args:
            place: The newest sample of a source; None: there is no such source.
            ignored: Kinds that are not raised.
        """
        with self._lock:
            notices, self._notices = self._notices, {}
        records = []
        for notice in notices.values():
            if notice.state == "raised" and notice.kind in ignored:
                continue
            stop = place(notice.source)
            record = None if stop is None else self._take(notice, stop)
            records += [] if record is None else [record]
        return records

    def finish(
        self, source: str, place: Callable[[str], int | None], detail: str
    ) -> list[Health]:
        """End what is raised of a source: nobody looks any more.  Worker's thread."""
        for raised in list(self._raised.values()):
            if raised.source == source:
                self.post(Notice(raised.kind, "cleared", detail, source))
        return self.drain(place)

    def _take(self, notice: Notice, stop: int) -> Health | None:
        key = notice.source, notice.kind
        raised = self._raised.get(key)
        if notice.state == "cleared":
            if raised is None:
                return None
            del self._raised[key]
            return replace(raised, stop=stop, state="cleared", detail=notice.detail)
        if raised is not None:
            return None
        self._raised[key] = Health(
            notice.source,
            stop,
            stop,
            notice.kind,
            "raised",
            notice.detail,
            uuid.uuid4().hex,
        )
        return self._raised[key]
