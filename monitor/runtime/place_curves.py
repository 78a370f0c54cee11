"""The curves of a place: events at several sensitivities, counted in stored scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from monitor.detection.event_bounds import LabelWindow
from monitor.detection.hysteresis import Hysteresis
from monitor.detection.rules import LabelRule
from monitor.records import Gap, ScoreFrame, Timed
from monitor.runtime.replay import decode_row, is_bridged, rows_and_gaps
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import Session
from monitor.sinks.store.scores import ScoreArrays, ScoreRow

CurveRules = Callable[[Session, str], Mapping[str, Sequence[LabelRule]]]
"""Rules of the labels that a source reports, one for each sensitivity."""


@dataclass(slots=True)
class PlaceCurve:
    """The events of a label that each sensitivity would have detected."""

    events: list[int] = field(default_factory=list)
    """Number of events at each sensitivity."""

    seconds: float = 0.0
    """Length of the scores, over all sources."""


def count_events(
    reader: Reader,
    rules_for: CurveRules,
    level_gate_dbfs: float,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, PlaceCurve]:
    """Count the events in stored scores with the rules of several sensitivities.

    Returns:
        By label; labels without scores are missing.
    """
    sessions = reader.sessions()
    counters: dict[tuple[str, str], _SourceCounters] = {}
    curves: dict[str, PlaceCurve] = {}
    for item in rows_and_gaps(reader, since, until):
        if isinstance(item, Timed):
            assert isinstance(item.record, Gap)
            for (_, source), each in counters.items():
                if source == item.record.source:
                    each.gap(item.record)
            continue
        session = sessions[item.session]
        arrays = decode_row(item, len(session.labels))
        if arrays is None:
            continue
        key = (item.session, item.source)
        if key not in counters:
            rules = rules_for(session, item.source)
            counters[key] = _SourceCounters(session.labels, rules, level_gate_dbfs)
        counters[key].push(item, arrays)
        for label in counters[key].labels:
            seconds = item.frame_count * item.hop_samples / session.sample_rate
            curves.setdefault(label, PlaceCurve()).seconds += seconds
    for each in counters.values():
        for label, counts in each.counts().items():
            events = curves[label].events or [0] * len(counts)
            curves[label].events = [a + b for a, b in zip(events, counts, strict=True)]
    return curves


class _SourceCounters:
    """The counters of one source of one session."""

    def __init__(
        self,
        labels: Sequence[str],
        rules: Mapping[str, Sequence[LabelRule]],
        gate_dbfs: float,
    ) -> None:
        self.labels = tuple(rules)
        self._counters = {
            labels.index(label): [_Counter(rule) for rule in own]
            for label, own in rules.items()
        }
        self._gate_dbfs = gate_dbfs
        self._latest: ScoreRow | None = None

    def gap(self, gap: Gap) -> None:
        if not (gap.is_partial or is_bridged(gap, self._latest)):
            self.stop()

    def push(self, row: ScoreRow, arrays: ScoreArrays) -> None:
        before = None if self._latest is None else self._latest.stop_sample
        if before is not None and row.start_sample > before:
            # Scores between them were lost, by a kill or a full disk.
            self.stop()
        self._latest = row
        # A level that is not known opens the gate, as in the detector.
        gated = arrays.levels[:, 1] < self._gate_dbfs
        for index, counters in self._counters.items():
            windows = _Windows(row, arrays, index, gated, before)
            for counter in counters:
                counter.push(windows)

    def stop(self) -> None:
        for counters in self._counters.values():
            for counter in counters:
                counter.state.stop()

    def counts(self) -> dict[str, list[int]]:
        """Number of events by label, one for each of its rules."""
        every = self._counters.values()
        return {
            label: [each.count for each in counters]
            for label, counters in zip(self.labels, every, strict=True)
        }


class _Windows:
    """The windows of a row as one label sees them."""

    def __init__(
        self,
        row: ScoreRow,
        arrays: ScoreArrays,
        label: int,
        gated: np.ndarray,
        seen_until: int | None,
    ) -> None:
        self._row, self._arrays, self._label = row, arrays, label
        self._gated, self._seen_until = gated, seen_until
        self.scores = np.where(gated, 0.0, arrays.scores[:, label])
        self.highest = float(self.scores.max())

    def __getitem__(self, index: int) -> LabelWindow:
        row, arrays, label = self._row, self._arrays, self._label
        start = row.start_sample + index * row.hop_samples
        stop = start + row.window_samples
        seen_until = stop - row.hop_samples if index else self._seen_until
        first, last = arrays.spans[index, label].tolist()
        return LabelWindow(
            frame=ScoreFrame(row.source, start, stop, (), (), 0.0, 0.0, 0.0),
            score=float(arrays.scores[index, label]),
            rival=float(np.delete(arrays.scores[index], label).max(initial=0.0)),
            active_start=start + first,
            active_stop=start + last,
            seen_until=max(start, seen_until or 0),
            gated=bool(self._gated[index]),
        )


class _Counter:
    """Counts the events of one rule."""

    def __init__(self, rule: LabelRule) -> None:
        self.state = Hysteresis(rule)
        self.count = 0
        self._onset = rule.onset_threshold
        self._is_averaged = rule.smoothing_hops > 1

    def push(self, windows: _Windows) -> None:
        """Take the windows of a row.

        While no event goes on, one below the onset threshold changes nothing, unless
        several are averaged.
        """
        if not self._needs_all and windows.highest < self._onset:
            return
        index, may_begin = 0, windows.scores >= self._onset
        while index < len(may_begin):
            if not self._needs_all:
                index += int(may_begin[index:].argmax())
                if not may_begin[index]:
                    return
            begun, _ = self.state.push(windows[index])
            self.count += begun is not None
            index += 1

    @property
    def _needs_all(self) -> bool:
        return self._is_averaged or self.state.event is not None
