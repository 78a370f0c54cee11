"""The detector: turns the score frames of one source into onsets and events."""

import math
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from monitor.detection.event_bounds import EventBounds, LabelWindow
from monitor.detection.event_level import EventLevel, Hop, newest_hop
from monitor.detection.hysteresis import Horizon, Hysteresis
from monitor.detection.rules import LabelRule
from monitor.records import (
    Candidate,
    EndReason,
    Event,
    Gap,
    Ongoing,
    Onset,
    ScoreFrame,
)

_IDS = uuid.UUID("6f1d3f0e-5c1b-4b0e-9a55-0d6b7a2e8c41")
"""Namespace of the ids of events."""

_TOP = 3


class Detector:
    """Finds where the labels of one source begin and end.

    For windows, their votes and the time of a report see `Hysteresis` and
    `EventBounds`.  A window whose loudest hop lies below the level gate counts as one
    in which every label scores zero.

    The levels of an event are those of the hops that have a sample in [start, stop);
    of an onset, in [start, end of the window that detected it).
    """

    def __init__(
        self,
        source: str,
        labels: Sequence[str],
        rules: Mapping[str, LabelRule],
        level_gate_dbfs: float,
        models: Mapping[str, str] | str,
        session: str,
        *,
        seen_until: int = 0,
        horizons: Mapping[str, Horizon] | None = None,
        rivals: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Prepare for the frames of `source`.

        Args:
            source: Name of the source.
            labels: The labels of a frame's scores, in their order.
            rules: One for each label that is reported; the others are silent.
            level_gate_dbfs: Below this level of its loudest hop a window scores zero.
            models: By label, the name of its model, or one name for all; stated in the
                records.
            session: Part of the ids of events; the same session, source, label and
                start give the same id.
            seen_until: End of the newest window of the detector before.
            horizons: `horizons` of the detector before.
            rivals: By label those that a margin keeps it above; None: all others.
        """
        self._source = source
        self._labels = tuple(labels)
        self._level_gate_dbfs = level_gate_dbfs
        self._models = models
        self._session = session
        before = horizons or {}
        # What sounded before a label was reported is no event of it.
        new = Horizon(seen_until, seen_until) if horizons else None
        self._states = {
            index: Hysteresis(rules[label], before.get(label, new))
            for index, label in enumerate(labels)
            if label in rules
        }
        self._thresholds = {
            index: rules[labels[index]].onset_threshold for index in self._states
        }
        # An event can go on for so long before it is reported or given up.
        self._longest_unreported = max(
            (rule.min_duration_on + rule.min_duration_off for rule in rules.values()),
            default=0,
        )
        self.seen_until = seen_until
        """End of the newest window."""

        # Most rules have no margin, and then rivals do not matter.
        self._rivals: dict[int, list[int]] = {
            index: [self._labels.index(it) for it in rivals[self._labels[index]]]
            for index in (self._states if rivals is not None else ())
            if rivals is not None and rules[self._labels[index]].margin
        }
        self._hops: deque[Hop] = deque()
        self._levels: dict[int, EventLevel] = {}  # of the labels that were reported
        self._ongoing: dict[int, Ongoing] = {}  # by label, in the order of onsets

    @property
    def ongoing(self) -> tuple[Ongoing, ...]:
        """The occurrences of the newest frame: see `ScoreFrame.ongoing`."""
        return tuple(self._ongoing.values())

    @property
    def is_idle(self) -> bool:
        """True if no event is going on, reported or not."""
        return all(state.event is None for state in self._states.values())

    @property
    def horizons(self) -> Mapping[str, Horizon]:
        """Bounds of the next event by label, for the detector that follows."""
        states = self._states.items()
        return {self._labels[index]: state.horizon for index, state in states}

    def candidates(self, frame: ScoreFrame, most: int) -> tuple[Candidate, ...]:
        """The `most` highest labels of `frame`, which is the newest, highest first."""
        highest = sorted(enumerate(frame.scores), key=lambda it: (-it[1], it[0]))[:most]
        return tuple(self._candidate(frame, index) for index, _ in highest)

    def _candidate(self, frame: ScoreFrame, index: int) -> Candidate:
        label, score = self._labels[index], frame.scores[index]
        state = self._states.get(index)
        if state is None:
            return Candidate(label, score, None, "silent")
        held_back, rival = state.held_back(), None
        if held_back == "rival":
            others = self._rivals.get(index) or [
                it for it in range(len(self._labels)) if it != index
            ]
            nearest = max(others, key=lambda it: frame.scores[it], default=index)
            rival = self._labels[nearest]
        return Candidate(label, score, self._thresholds[index], held_back, rival)

    def push(self, frame: ScoreFrame) -> list[Onset | Event]:
        """Take the next frame of the source.

        Returns:
            The onsets and events that it made known, in the order of the labels; the
            onset of an occurrence stands before its event.
        """
        seen_until = max(self.seen_until, frame.start)
        assert frame.stop > seen_until, "score frames come in the order of time"
        self.seen_until = frame.stop
        self._measure(newest_hop(frame, seen_until), frame)
        self._follow(frame)
        records: list[Onset | Event] = []
        for index, window in self._windows_of(frame, seen_until):
            begun, ended = self._states[index].push(window)
            if begun is not None:
                records.append(self._onset(index, begun, frame))
            if ended is not None:
                records.append(self._event(index, ended, "offset"))
        self._settle(frame)
        return records

    def gap(self, gap: Gap) -> list[Event]:
        """End the ongoing occurrences with the reason of `gap`: samples were lost.

        Smoothing starts anew behind it.  Refractory times go on.  One in which windows
        go on changes nothing.
        """
        if gap.is_partial:
            return []
        assert gap.reason != "overload"
        return self.finish(gap.reason)

    def finish(self, reason: EndReason) -> list[Event]:
        """End the ongoing occurrences, with `reason`."""
        goes_on = reason == "reloaded"
        return [
            self._event(index, event, reason)
            for index, state in self._states.items()
            if (event := state.stop(goes_on=goes_on)) is not None
        ]

    def _windows_of(
        self, frame: ScoreFrame, seen_until: int
    ) -> Iterator[tuple[int, LabelWindow]]:
        """Yield the frame as each reported label sees it."""
        gated = frame.peak_level_dbfs < self._level_gate_dbfs
        second, first = (0.0, 0.0, *sorted(frame.scores))[-2:]
        for index in self._states:
            score, span = frame.scores[index], frame.spans[index]
            rival = second if score == first else first
            if index in self._rivals:
                others = (frame.scores[it] for it in self._rivals[index])
                rival = max(others, default=0.0)
            yield index, LabelWindow(frame, score, rival, *span, seen_until, gated)

    def _measure(self, hop: Hop, frame: ScoreFrame) -> None:
        self._hops.append(hop)
        for level in self._levels.values():
            level.add(hop)
        # As far back as an event can begin that is not reported yet.
        window = frame.stop - frame.start
        keep_from = frame.stop - self._longest_unreported - 3 * window
        while self._hops[0].stop <= keep_from:
            self._hops.popleft()

    def _follow(self, frame: ScoreFrame) -> None:
        """Update the ongoing occurrences, without those that the frame before ended."""
        self._ongoing = {
            index: update_ongoing(known, frame, index, self._thresholds[index])
            for index, known in self._ongoing.items()
            if index in self._levels
        }

    def _settle(self, frame: ScoreFrame) -> None:
        """Drop the hops that no event may still gain or lose."""
        window = frame.stop - frame.start
        for index, level in self._levels.items():
            event = self._states[index].event
            assert event is not None, "only an ongoing event has levels"
            level.settle(event.start, event.stop - 2 * window)

    def _onset(self, index: int, event: EventBounds, frame: ScoreFrame) -> Onset:
        self._levels[index] = EventLevel(self._hops)
        onset = Onset(**self._facts(index, event, frame.stop))
        windows = (hop.window for hop in self._hops)
        self._ongoing[index] = begin_ongoing(
            onset, windows, index, self._thresholds[index]
        )
        return onset

    def _event(self, index: int, event: EventBounds, reason: EndReason) -> Event:
        facts = self._facts(index, event, event.stop)
        del self._levels[index]
        return Event(**facts, end_reason=reason)

    def _facts(self, index: int, event: EventBounds, stop: int) -> dict[str, Any]:
        """The fields of an `Occurrence`."""
        label = self._labels[index]
        name = f"{self._session}/{self._source}/{label}/{event.onset_start}"
        scores = zip(self._labels, event.peak.frame.scores, strict=True)
        top = sorted(scores, key=lambda pair: pair[1], reverse=True)[:_TOP]
        levels = self._levels[index].measure(event.start, stop)
        level_dbfs, laeq_db, lafmax_db, offset_db = levels
        return {
            "id": str(uuid.uuid5(_IDS, name)),
            "source": self._source,
            "label": label,
            "start": event.start,
            "stop": stop,
            "peak_score": event.peak.score,
            "mean_score": event.mean_score,
            "level_dbfs": level_dbfs,
            "laeq_db": laeq_db,
            "lafmax_db": lafmax_db,
            "level_offset_db": offset_db,
            "top": tuple(top),
            "model": self._models
            if isinstance(self._models, str)
            else self._models[label],
        }


def begin_ongoing(
    onset: Onset, windows: Iterable[ScoreFrame], index: int, threshold: float
) -> Ongoing:
    """Begin with an onset; `windows` reach back to its start, in order."""
    covering = [window for window in windows if window.stop > onset.start]
    hits = [window for window in covering if window.scores[index] >= threshold]
    return Ongoing(
        onset.id,
        onset.source,
        onset.label,
        onset.start,
        hits[-1].spans[index][1] if hits else onset.stop,
        onset.peak_score,
        onset.mean_score,
        onset.level_dbfs,
        onset.laeq_db,
        onset.top,
        onset.model,
        len(hits),
        len(covering),
    )


def update_ongoing(
    known: Ongoing, window: ScoreFrame, index: int, threshold: float
) -> Ongoing:
    """Add the next window; the arguments are those of `begin_ongoing`."""
    score, count = window.scores[index], max(1, known.windows)
    is_hit = score >= threshold
    return replace(
        known,
        stop=max(known.stop, window.spans[index][1]) if is_hit else known.stop,
        peak_score=max(known.peak_score, score),
        mean_score=(known.mean_score * count + score) / (count + 1),
        level_dbfs=max(known.level_dbfs, window.level_dbfs),
        laeq_db=_energy_mean(known.laeq_db, count, window.laeq_db),
        hits=known.hits + is_hit,
        windows=known.windows + 1,
    )


def _energy_mean(mean_db: float, count: int, level_db: float) -> float:
    """Mean level of `count` hops of `mean_db` and one more, in dB."""
    if not math.isfinite(level_db):
        return mean_db
    if not math.isfinite(mean_db):
        return level_db
    energy = count * 10 ** (mean_db / 10) + 10 ** (level_db / 10)
    return 10 * math.log10(energy / (count + 1))
