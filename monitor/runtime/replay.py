"""Detection once more, over scores that were stored, with other settings."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.detection.detector import Detector
from monitor.detection.rules import LabelRule
from monitor.records import Event, Gap, Onset, Timed
from monitor.sinks.store.queries import Reader, SessionFacts, Stretch

RulesFor = Callable[[SessionFacts], Mapping[str, LabelRule]]
WARM_UP = timedelta(minutes=2)
"""Scores before the stretch of interest, for what is going on at its beginning."""

TOLERANCE = timedelta(seconds=1)
"""Events of one label that lie closer together are the same one."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was told, and what would be told."""

    stays: list[Timed]
    """As it would be told."""

    comes: list[Timed]
    goes: list[Timed]
    since: datetime | None
    """Where the scores begin that were looked at; None: there are none."""

    frames: int


class _Track:
    """Detection for one source of one session."""

    def __init__(self, session: SessionFacts, source: str, detector: Detector) -> None:
        self._rate = session.sample_rate
        self._source = source
        self._detector = detector
        self._seen_until: int | None = None
        self._latest: Stretch | None = None

    def push(self, stretch: Stretch) -> Iterator[Timed]:
        before = self._latest
        if before is not None and stretch.start_sample > before.stop_sample:
            # Scores between them were lost, by a kill or a full disk.
            yield from self._told(self._detector.finish("interrupted"))
        self._latest = stretch
        for frame in stretch.read():
            if self._seen_until is None or frame.stop > self._seen_until:
                self._seen_until = frame.stop
                yield from self._told(self._detector.push(frame))

    def gap(self, gap: Gap) -> Iterator[Timed]:
        yield from self._told(self._detector.gap(gap))

    def finish(self) -> Iterator[Timed]:
        yield from self._told(self._detector.finish("stopped"))

    def _told(self, records: Iterable[Onset | Event]) -> Iterator[Timed]:
        for record in records:
            if isinstance(record, Event):
                yield Timed(
                    record,
                    record.start / self._rate,
                    record.stop / self._rate,
                    self._utc(record.start),
                    self._utc(record.stop),
                )

    def _utc(self, sample: int) -> datetime:
        assert self._latest is not None
        seconds = (sample - self._latest.start_sample) / self._rate
        return self._latest.start + timedelta(seconds=seconds)


def replay(
    reader: Reader,
    rules_for: RulesFor,
    level_gate_dbfs: float,
    since: datetime | None,
    until: datetime | None,
) -> Comparison:
    """Detect events in the stored scores, and compare them with the stored events.

    Args:
        reader: The database.
        rules_for: Rules for the labels of a session.
        level_gate_dbfs: See `DetectionSettings`.
        since: None: where the scores begin.
        until: None: where they end.
    """
    sessions = reader.sessions()
    tracks: dict[tuple[str, str], _Track] = {}
    found: list[Timed] = []
    first: datetime | None = None
    frames = 0
    for item in _in_order(reader, since, until):
        if isinstance(item, Timed):
            for (_, source), track in tracks.items():
                if source == item.record.source and isinstance(item.record, Gap):
                    found += track.gap(item.record)
            continue
        first = first or item.start
        frames += item.frames
        key = (item.session, item.source)
        if key not in tracks:
            # A source is in one session at a time: what went on in the other is over.
            for other in [other for other in tracks if other[1] == item.source]:
                found += tracks.pop(other).finish()
            tracks[key] = _begin(
                sessions[item.session], item.source, rules_for, level_gate_dbfs
            )
        found += tracks[key].push(item)
    for track in tracks.values():
        found += track.finish()
    if first is None:
        return Comparison([], [], [], None, 0)
    begin = first if since is None else max(since, first)
    return _compare(
        [timed for timed in found if _lies_in(timed, begin, until)],
        [timed for timed in reader.events(begin, until) if timed.start_utc],
        begin,
        frames,
    )


def _begin(
    session: SessionFacts, source: str, rules_for: RulesFor, level_gate_dbfs: float
) -> _Track:
    detector = Detector(
        source=source,
        labels=session.labels,
        rules=rules_for(session),
        level_gate_dbfs=level_gate_dbfs,
        model_name=session.model,
        session=session.session,
    )
    return _Track(session, source, detector)


def _in_order(
    reader: Reader, since: datetime | None, until: datetime | None
) -> Iterator[Stretch | Timed]:
    early = None if since is None else since - WARM_UP
    stretches = ((s.start, 0, s) for s in reader.stretches(early, until))
    gaps = (
        (timed.start_utc, 1, timed)
        for timed in reader.gaps(early, until)
        if timed.start_utc is not None
    )
    merged: Iterator[tuple[datetime, int, Stretch | Timed]] = heapq.merge(
        stretches, gaps, key=lambda item: item[:2]
    )
    return (item for _, _, item in merged)


def _lies_in(timed: Timed, since: datetime, until: datetime | None) -> bool:
    assert timed.start_utc is not None
    assert timed.end_utc is not None
    return timed.end_utc > since and (until is None or timed.start_utc < until)


def _compare(
    would: Sequence[Timed], told: Sequence[Timed], since: datetime, frames: int
) -> Comparison:
    stays, comes = _split(would, told)
    _, goes = _split(told, would)
    return Comparison(stays, comes, goes, since, frames)


def _split(
    these: Sequence[Timed], others: Sequence[Timed]
) -> tuple[list[Timed], list[Timed]]:
    """Divide events into those that others overlap, and those that none does."""
    by_kind: dict[tuple[str, str], list[Timed]] = {}
    for other in others:
        by_kind.setdefault(_kind(other), []).append(other)
    with_one: list[Timed] = []
    alone: list[Timed] = []
    for timed in these:
        beside = by_kind.get(_kind(timed), [])
        (with_one if any(_meet(timed, o) for o in beside) else alone).append(timed)
    return with_one, alone


def _kind(timed: Timed) -> tuple[str, str]:
    assert isinstance(timed.record, Onset | Event)
    return timed.record.source, timed.record.label


def _meet(one: Timed, other: Timed) -> bool:
    return _begins_before_end_of(one, other) and _begins_before_end_of(other, one)


def _begins_before_end_of(one: Timed, other: Timed) -> bool:
    assert one.start_utc is not None
    assert other.end_utc is not None
    is_going_on = isinstance(other.record, Onset)
    return is_going_on or one.start_utc < other.end_utc + TOLERANCE
