"""The replay: detection on stored scores with other settings."""

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from monitor.detection.detector import Detector
from monitor.detection.rules import LabelRule
from monitor.errors import StoreError
from monitor.records import EndReason, Event, Gap, Onset, Timed
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import Session, is_going_on
from monitor.sinks.store.scores import ScoreArrays, ScoreRow

logger = logging.getLogger(__name__)

RulesFor = Callable[[Session, str], Mapping[str, LabelRule]]
"""Rules of the labels that a source reports, of those that the session scored."""

WARM_UP = timedelta(minutes=2)
"""Length of the scores before the time range, for events ongoing at its begin."""

TOLERANCE = timedelta(seconds=1)
"""Events of one label that lie closer together are the same one."""

UNDECIDED = timedelta(seconds=30)
"""An event that began so shortly before the last score may rest on later ones."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The stored events compared with those of other settings."""

    stays: list[Timed]
    """Events that both have, as detected with the other settings."""

    comes: list[Timed]
    goes: list[Timed]
    since: datetime | None
    """Start of the scores that were used; None: there are none."""

    frames: int
    not_computed: int
    """Frames that lay below the level gate of their time, and not below that of now:
    nothing is known of them."""


class _SourceReplay:
    """Detection for one source of one session.

    While no event goes on, frames whose scores all lie below their onset thresholds
    change nothing, and are skipped: but for the newest, in which an event may have
    begun, or over which its scores are averaged.
    """

    def __init__(
        self,
        session: Session,
        source: str,
        detector: Detector,
        rules: Mapping[str, LabelRule],
        level_gate_dbfs: float,
    ) -> None:
        self.source = source
        self._rate = session.sample_rate
        self._detector = detector
        self._gate_dbfs = level_gate_dbfs
        self._columns = [
            index for index, label in enumerate(session.labels) if label in rules
        ]
        self._onsets = np.array(
            [rules[session.labels[index]].onset_threshold for index in self._columns]
        )
        self._hops = max((rule.smoothing_hops for rule in rules.values()), default=1)
        self._seen_until: int | None = None
        self._latest: ScoreRow | None = None
        self._skipped: deque[tuple[ScoreRow, ScoreArrays, int]] = deque(maxlen=0)
        """The newest frames that the detector has not got: row, content, index."""

        self._averaged = 0
        """Number of frames to come that are averaged with one at its threshold."""

    def push(self, row: ScoreRow, arrays: ScoreArrays) -> Iterator[Timed]:
        before = self._latest
        if before is not None and row.start_sample > before.stop_sample:
            # Scores between them were lost, by a kill or a full disk.
            yield from self.finish("interrupted")
        self._latest = row
        kept = self._hops + -(-row.window_samples // row.hop_samples) + 1
        if kept > (self._skipped.maxlen or 0):
            self._skipped = deque(self._skipped, maxlen=kept)
        reaching = arrays.scores[:, self._columns] >= self._onsets
        # A level that is not known opens the gate, as in the detector.
        hot = reaching.any(axis=1) & ~(arrays.levels[:, 1] < self._gate_dbfs)
        first = self._first_new(row)
        if not hot.any() and not self._averaged and self._detector.is_idle:
            first = max(first, len(hot) - kept)
        for index in range(first, len(hot)):
            self._skipped.append((row, arrays, index))
            if hot[index]:
                self._averaged = self._hops
            if self._averaged or not self._detector.is_idle:
                self._averaged = max(0, self._averaged - 1)
                yield from self._catch_up()

    def _first_new(self, row: ScoreRow) -> int:
        """Index of the first frame that ends after those of the rows before."""
        before = self._seen_until
        if before is None or row.stop_sample > before:
            self._seen_until = row.stop_sample
        if before is None:
            return 0
        ahead = before - row.start_sample - row.window_samples
        return max(0, ahead // row.hop_samples + 1)

    def _catch_up(self) -> Iterator[Timed]:
        for row, arrays, index in self._skipped:
            yield from self._events(self._detector.push(row.frame(arrays, index)))
        self._skipped.clear()

    def gap(self, gap: Gap) -> Iterator[Timed]:
        if gap.is_partial or is_bridged(gap, self._latest):
            return
        self._forget()
        yield from self._events(self._detector.gap(gap))

    def finish(self, reason: EndReason = "stopped") -> Iterator[Timed]:
        self._forget()
        yield from self._events(self._detector.finish(reason))

    def _forget(self) -> None:
        """Drop the skipped frames: the next ones have nothing to do with them."""
        self._skipped.clear()
        self._averaged = 0

    def _events(self, records: Iterable[Onset | Event]) -> Iterator[Timed]:
        for record in records:
            if isinstance(record, Event):
                start, stop = record.start, record.stop
                times = start / self._rate, stop / self._rate
                yield Timed(record, *times, self._utc(start), self._utc(stop))

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
    models: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
) -> Comparison:
    """Detect events in the stored scores, and compare them with the stored events.

    The time range is from `since` to `until`; None: all scores.  `models` are the names
    of the models by label, for the records; of others it is that of the session.
    `labels` are those of the stored events; none: all.
    """
    sessions = reader.sessions()
    replays: dict[tuple[str, str], _SourceReplay] = {}
    ends: dict[str, datetime] = {}
    found: list[Timed] = []
    first: datetime | None = None
    frames = not_computed = 0
    for item in rows_and_gaps(reader, since, until):
        if isinstance(item, Timed):
            for each in replays.values():
                if isinstance(item.record, Gap) and each.source == item.record.source:
                    found += each.gap(item.record)
            continue
        session = sessions[item.session]
        decoded = decode_row(item, len(session.labels))
        if decoded is None:
            continue
        first = first or item.start
        length = (item.stop_sample - item.start_sample) / session.sample_rate
        ends[item.source] = item.start + timedelta(seconds=length)
        frames += item.frame_count
        below = decoded.levels[:, 1] < level_gate_dbfs
        not_computed += int((~below & ~decoded.computed).sum())
        key = (item.session, item.source)
        if key not in replays:
            # A source is in one session at a time: events of the other are over.
            for other in [other for other in replays if other[1] == item.source]:
                found += replays.pop(other).finish()
            rules = rules_for(session, item.source)
            detector = Detector(
                source=item.source,
                labels=session.labels,
                rules=rules,
                level_gate_dbfs=level_gate_dbfs,
                models={
                    label: (models or {}).get(label, session.model)
                    for label in session.labels
                },
                session=session.session,
            )
            replays[key] = _SourceReplay(
                session, item.source, detector, rules, level_gate_dbfs
            )
        found += replays[key].push(item, decoded)
    for each in replays.values():
        found += each.finish()
    if first is None:
        return Comparison([], [], [], None, 0, 0)
    begin = first if since is None else max(since, first)
    detected = [timed for timed in found if _overlaps(timed, begin, until)]
    stored = [
        timed for timed in reader.events(begin, until, labels=labels) if timed.start_utc
    ]
    stays, comes = _split(detected, stored)
    _, alone = _split(stored, detected)
    goes = [timed for timed in alone if _is_decided(timed, ends)]
    return Comparison(stays, comes, goes, begin, frames, not_computed)


def decode_row(row: ScoreRow, labels: int) -> ScoreArrays | None:
    """Decode a row; a damaged one is None, as if it were lost."""
    try:
        arrays = row.arrays()
    except StoreError as error:
        logger.warning("%s; they are left out", error)
        return None
    if arrays.scores.shape[1] == labels:
        return arrays
    logger.warning(
        "the scores of %s at %s are not those of its labels; they are left out",
        row.source,
        row.start,
    )
    return None


def rows_and_gaps(
    reader: Reader, since: datetime | None, until: datetime | None
) -> Iterator[ScoreRow | Timed]:
    """Return rows of scores and gaps by their start."""
    early = None if since is None else since - WARM_UP
    rows = ((row.start, 0, row) for row in reader.score_rows(early, until))
    gaps = (
        (timed.start_utc, 1, timed)
        for timed in reader.gaps(early, until)
        if timed.start_utc is not None
    )
    merged: Iterator[tuple[datetime, int, ScoreRow | Timed]] = heapq.merge(
        rows, gaps, key=lambda item: item[:2]
    )
    return (item for _, _, item in merged)


def is_bridged(gap: Gap, row: ScoreRow | None) -> bool:
    """Return True if the windows of `row`, which began before `gap`, go on over it."""
    return (
        row is not None and row.start_sample <= gap.start < gap.stop < row.stop_sample
    )


def _overlaps(timed: Timed, since: datetime, until: datetime | None) -> bool:
    assert timed.start_utc is not None
    assert timed.end_utc is not None
    return timed.end_utc > since and (until is None or timed.start_utc < until)


def _is_decided(stored: Timed, ends: Mapping[str, datetime]) -> bool:
    """Return True if the scores, by source until `ends`, can tell of an event."""
    assert stored.start_utc is not None
    assert stored.end_utc is not None
    end = ends.get(stored.record.source)
    if end is None:
        return True
    is_within = not is_going_on(stored.record) and stored.end_utc <= end
    return is_within or stored.start_utc < end - UNDECIDED


def _split(
    these: Sequence[Timed], others: Sequence[Timed]
) -> tuple[list[Timed], list[Timed]]:
    """Divide events into those that meet one of the others, and the rest."""
    by_label: dict[tuple[str, str], list[Timed]] = {}
    for other in others:
        by_label.setdefault(_source_and_label(other), []).append(other)
    common: list[Timed] = []
    alone: list[Timed] = []
    for timed in these:
        beside = by_label.get(_source_and_label(timed), [])
        meets = any(_ends_after(o, timed) and _ends_after(timed, o) for o in beside)
        (common if meets else alone).append(timed)
    return common, alone


def _source_and_label(timed: Timed) -> tuple[str, str]:
    assert isinstance(timed.record, Onset | Event)
    return timed.record.source, timed.record.label


def _ends_after(one: Timed, other: Timed) -> bool:
    """Return True if `one` ends after the start of `other`, within the tolerance."""
    assert other.start_utc is not None
    assert one.end_utc is not None
    return is_going_on(one.record) or other.start_utc < one.end_utc + TOLERANCE
