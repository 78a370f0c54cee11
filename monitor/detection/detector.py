"""From the score frames of one source to its onsets and events."""

import uuid
from collections import deque
from collections.abc import Mapping, Sequence

from monitor.detection.event_bounds import LabelWindow, Run
from monitor.detection.event_level import Hop, Loudness, newest_hop
from monitor.detection.hysteresis import Horizon, Hysteresis
from monitor.detection.ongoing import begin, follow
from monitor.detection.rules import LabelRule
from monitor.records import (
    EndReason,
    Event,
    Gap,
    LabelScore,
    Ongoing,
    Onset,
    ScoreFrame,
)

_IDS = uuid.UUID("6f1d3f0e-5c1b-4b0e-9a55-0d6b7a2e8c41")
"""Namespace of the ids of events."""

_TOP = 3


class Detector:
    """Tells where the labels of one source begin and end.

    What a window is, where its stretch begins and when it is told: see `Hysteresis`
    and `Run`.  A window whose loudest hop lies below the level gate counts as one in
    which every label scores zero.

    The levels of an event are those of the hops that have a sample in [start, stop);
    for an onset, in [start, end of the window that told it).
    """

    def __init__(
        self,
        source: str,
        labels: Sequence[str],
        rules: Mapping[str, LabelRule],
        level_gate_dbfs: float,
        model_name: str,
        session: str,
        *,
        seen_until: int = 0,
        horizons: Mapping[str, Horizon] | None = None,
    ) -> None:
        """Prepare for the frames of `source`.

        Args:
            source: Name of the source.
            labels: What the scores of a frame stand for, in their order.
            rules: One for each label.
            level_gate_dbfs: See `DetectionSettings`.
            model_name: Stated in the records.
            session: Told apart in the ids of events; the same session, source, label
                and start give the same id.
            seen_until: Where the newest window stopped that was analysed before.
            horizons: By label, where its events may begin; see the property.
        """
        self._source = source
        self._labels = tuple(labels)
        self._level_gate_dbfs = level_gate_dbfs
        self._model_name = model_name
        self._session = session
        before = horizons or {}
        self._states = tuple(
            Hysteresis(rules[label], before.get(label)) for label in labels
        )
        self._thresholds = [rules[label].onset_threshold for label in labels]
        self._untold = _longest_untold(rules)
        self.seen_until = seen_until
        """Where the newest window stopped."""

        self._hops: deque[Hop] = deque()
        self._loudness: dict[int, Loudness] = {}  # of the labels that were told
        self._ongoing: dict[int, Ongoing] = {}  # by label, in the order of onsets

    @property
    def ongoing(self) -> tuple[Ongoing, ...]:
        """The occurrences of the newest frame: see `ScoreFrame.ongoing`."""
        return tuple(self._ongoing.values())

    @property
    def horizons(self) -> Mapping[str, Horizon]:
        """By label, where the next event may begin, for a detector that follows."""
        states = zip(self._labels, self._states, strict=True)
        return {label: state.horizon for label, state in states}

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
        for index, state in enumerate(self._states):
            told, ended = state.push(self._window_of(frame, index, seen_until))
            if told is not None:
                records.append(self._onset(index, told, frame))
            if ended is not None:
                records.append(self._event(index, ended, "offset"))
        self._settle(frame)
        return records

    def gap(self, gap: Gap) -> list[Event]:
        """End what is going on with the reason of `gap`: samples were lost.

        Smoothing starts anew behind it.  Refractory times go on.
        """
        return self._stop(gap.reason)

    def finish(self, reason: EndReason) -> list[Event]:
        """End the ongoing events: another detector, or none, takes the next samples."""
        return self._stop(reason)

    def _window_of(self, frame: ScoreFrame, index: int, seen_until: int) -> LabelWindow:
        others = (*frame.scores[:index], *frame.scores[index + 1 :])
        return LabelWindow(
            frame,
            frame.scores[index],
            max(others, default=0.0),
            *frame.spans[index],
            seen_until,
            frame.peak_level_dbfs < self._level_gate_dbfs,
        )

    def _stop(self, reason: EndReason) -> list[Event]:
        goes_on = reason == "reloaded"
        ended = [
            (index, state.stop(goes_on=goes_on))
            for index, state in enumerate(self._states)
        ]
        return [
            self._event(index, run, reason) for index, run in ended if run is not None
        ]

    def _measure(self, hop: Hop, frame: ScoreFrame) -> None:
        self._hops.append(hop)
        for loudness in self._loudness.values():
            loudness.add(hop)
        # As far back as a run can begin that is not told yet.
        window = frame.stop - frame.start
        keep_from = frame.stop - self._untold - 3 * window
        while self._hops[0].stop <= keep_from:
            self._hops.popleft()

    def _settle(self, frame: ScoreFrame) -> None:
        """Let the hops go that no event that is going on may still gain or lose."""
        window = frame.stop - frame.start
        for index, loudness in self._loudness.items():
            run = self._states[index].run
            assert run is not None, "levels are kept for what is going on"
            loudness.settle(run.start, run.stop - 2 * window)

    def _follow(self, frame: ScoreFrame) -> None:
        """Update what is going on, without what the frame before ended."""
        self._ongoing = {
            index: follow(known, frame, index, self._thresholds[index])
            for index, known in self._ongoing.items()
            if index in self._loudness
        }

    def _onset(self, index: int, run: Run, frame: ScoreFrame) -> Onset:
        self._loudness[index] = Loudness(self._hops)
        levels = self._loudness[index].measure(run.start, frame.stop)
        onset = Onset(
            self._id(index, run),
            self._source,
            self._labels[index],
            run.start,
            frame.stop,
            run.peak.score,
            run.mean_score,
            *levels,
            self._top(run),
            self._model_name,
        )
        windows = (hop.window for hop in self._hops)
        self._ongoing[index] = begin(onset, windows, index, self._thresholds[index])
        return onset

    def _event(self, index: int, run: Run, reason: EndReason) -> Event:
        levels = self._loudness.pop(index).measure(run.start, run.stop)
        return Event(
            self._id(index, run),
            self._source,
            self._labels[index],
            run.start,
            run.stop,
            run.peak.score,
            run.mean_score,
            *levels,
            self._top(run),
            self._model_name,
            reason,
        )

    def _id(self, index: int, run: Run) -> str:
        label = self._labels[index]
        name = f"{self._session}/{self._source}/{label}/{run.onset_start}"
        return str(uuid.uuid5(_IDS, name))

    def _top(self, run: Run) -> tuple[LabelScore, ...]:
        scores = zip(self._labels, run.peak.frame.scores, strict=True)
        return tuple(sorted(scores, key=lambda pair: pair[1], reverse=True)[:_TOP])


def _longest_untold(rules: Mapping[str, LabelRule]) -> int:
    """Samples for which a run can go on before it is told or given up."""
    return max(
        (rule.min_duration_on + rule.min_duration_off for rule in rules.values()),
        default=0,
    )
