"""The pipeline: turns samples into records, without threads, clock or I/O.

The daemon, `analyze` and the evaluation of streams drive the same object: what is
measured is what runs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitor.audio.level import AWeighting
from monitor.audio.timeline import Block
from monitor.config.config import Config
from monitor.detection.detector import Detector
from monitor.detection.hysteresis import Horizon
from monitor.detection.rules import LabelRule, resolve_rules
from monitor.errors import ConfigError
from monitor.model.classifier import Activity, Classifier, active_spans, span_samples
from monitor.model.engines import WindowPlace
from monitor.model.frontend import LogMel
from monitor.records import EndReason, Event, Gap, Onset, PlacedRecord, ScoreFrame
from monitor.runtime.windowing import Window, Windower, WindowGrid

Arrival = tuple[str, Block | Gap]
"""Name of a source, and what it delivered or lost next."""


class Pipeline:
    """Turns what the sources deliver into score frames, onsets, events and gaps.

    Driven by one thread at a time.
    """

    def __init__(
        self,
        classifier: Classifier,
        rules: Mapping[str, LabelRule],
        *,
        hop_frames: int,
        level_gate_dbfs: float,
        level_offsets_db: Mapping[str, float],
        session: str,
    ) -> None:
        """Prepare for the sources named by `level_offsets_db`.

        Args:
            classifier: The network; it fixes sample rate, frame grid and labels.
            rules: Detection rule of each label.
            hop_frames: Frames from one window to the next.
            level_gate_dbfs: Below this level of its loudest hop the network does not
                run for a window, which scores zero.
            level_offsets_db: Offset added to the dB(A) of each source.
            session: Part of the ids of events; unique to a run.

        Raises:
            ConfigError: The hop is not a multiple of the network's stride.
        """
        if hop_frames % classifier.total_stride:
            raise ConfigError(
                f"detection.hop_frames: {hop_frames} is not a multiple of the stride "
                f"of the model {classifier.name!r}, {classifier.total_stride} frames"
            )
        self.classifier = classifier
        self._rules = rules
        self._level_gate_dbfs = level_gate_dbfs
        spec = classifier.spec
        self.grid = WindowGrid.of(spec, hop_frames)
        log_mel, weighting = LogMel(spec), AWeighting(spec.sample_rate)
        self._windowers = {
            source: Windower(log_mel, weighting, self.grid, offset_db)
            for source, offset_db in level_offsets_db.items()
        }
        self._session = session
        self._detectors = {source: self._detector(source) for source in self._windowers}

    def _detector(
        self,
        source: str,
        *,
        seen_until: int = 0,
        horizons: Mapping[str, Horizon] | None = None,
    ) -> Detector:
        return Detector(
            source=source,
            labels=self.classifier.labels,
            rules=self._rules,
            level_gate_dbfs=self._level_gate_dbfs,
            model_name=self.classifier.name,
            session=self._session,
            seen_until=seen_until,
            horizons=horizons,
        )

    def next_stop(self, source: str) -> int:
        """Sample index at which the next window of `source` is complete."""
        return self._windowers[source].next_stop

    def contiguous_start(self, source: str) -> int:
        """Sample index since which no sample of `source` was lost; see `resume`."""
        return self._windowers[source].contiguous_start

    def resume(
        self, source: str, before: "Pipeline", history: Block, *, is_same_model: bool
    ) -> None:
        """Go on with a source that `before` analysed, and finished, up to here.

        `history` are its newest samples.  The next window is reported as soon as it is
        complete; none is reported twice, and no event begins where one of `before` may
        still sound.  What is kept of the windows so far, their background among it,
        means nothing to another model.
        """
        self._windowers[source].resume(history)
        if is_same_model:
            self._windowers[source].history = before._windowers[source].history
        ended = before._detectors[source]
        self._detectors[source] = self._detector(
            source, seen_until=ended.seen_until, horizons=ended.horizons
        )

    def process(
        self, arrivals: Iterable[Arrival], most_windows: int | None = None
    ) -> list[PlacedRecord]:
        """Take what the sources delivered since the last call.

        Args:
            arrivals: Those of one source follow each other.
            most_windows: Score only so many windows of each source, the newest; gaps
                stand for the others.

        Returns:
            The records of each source in the order of its samples.
        """
        steps: list[tuple[str, Window | Gap]] = []
        for source, item in arrivals:
            if isinstance(item, Gap):
                self._windowers[source].restart(item.stop)
                steps.append((source, item))
            else:
                windows = self._windowers[source].push(item)
                steps.extend((source, window) for window in windows)
        if most_windows is not None:
            steps = self._newest(steps, most_windows)
        frames = self._classify(
            [(source, step) for source, step in steps if isinstance(step, Window)]
        )
        records: list[PlacedRecord] = []
        for source, step in steps:
            detector = self._detectors[source]
            if isinstance(step, Gap):
                records += [step, *detector.gap(step)]
            else:
                frame = next(frames)
                found = detector.push(frame)
                if detector.ongoing:
                    frame = replace(frame, ongoing=detector.ongoing)
                records += [frame, *found]
        return records

    def finish(self, source: str, reason: EndReason) -> list[PlacedRecord]:
        """End the ongoing occurrences of `source`, whose samples are over.

        A recording that is shorter than a window is scored with silence after it.
        """
        detector = self._detectors[source]
        silence = self._windowers[source].completion()
        if reason != "end-of-input" or silence is None:
            return [*detector.finish(reason)]
        records = [*self.process([(source, silence)]), *detector.finish(reason)]
        end = silence.start
        return [
            replace(record, start=min(record.start, end), stop=min(record.stop, end))
            if isinstance(record, Onset | Event)
            else record
            for record in records
        ]

    def _newest(
        self, steps: Sequence[tuple[str, Window | Gap]], most_windows: int
    ) -> list[tuple[str, Window | Gap]]:
        """Replace the oldest windows of each source by gaps, but for `most_windows`."""
        excess = Counter(source for source, step in steps if isinstance(step, Window))
        found: list[tuple[str, Window | Gap]] = []
        gap: Gap | None = None
        for source, step in steps:
            if isinstance(step, Window) and excess[source] > most_windows:
                excess[source] -= 1
                seen_until = self._detectors[source].seen_until
                start = max(seen_until, step.start) if gap is None else gap.start
                gap = Gap(source, start, step.stop, "overload")
                continue
            if gap is not None:
                # The newest window of a source is never left out: this is its step.
                begin = step.start if isinstance(step, Window) else gap.stop
                if begin > gap.start:  # samples that are in no window
                    gap = replace(gap, stop=begin, reason="overrun")
                found.append((source, gap))
                gap = None
            found.append((source, step))
        return found

    def _classify(self, pending: Sequence[tuple[str, Window]]) -> Iterator[ScoreFrame]:
        """Score all windows of all sources, those of equal shape as one batch."""
        frames: dict[int, ScoreFrame] = {}
        places: dict[int, WindowPlace] = {}
        chosen: dict[int, list[int]] = {1: [], 2: []}
        for index, (source, window) in enumerate(pending):
            history = window.history
            if window.peak_level_dbfs < self._level_gate_dbfs:
                # Nothing can begin in it, so the network need not run.
                frames[index] = self._silent_frame(source, window)
                history.is_silent = True
            else:
                first_frame = window.start // self.classifier.spec.hop_length
                places[index] = WindowPlace(history, first_frame, history.is_silent)
                history.is_silent = False
                chosen[window.log_mel.shape[0]].append(index)
        for indices in chosen.values():
            if not indices:
                continue
            batch = np.stack([pending[index][1].log_mel for index in indices])
            result = self.classifier.classify(batch, [places[it] for it in indices])
            spans = self._window_spans(result.activity)
            for index, scores, own in zip(indices, result.scores, spans, strict=True):
                source, window = pending[index]
                frames[index] = _frame(
                    source, window, tuple(scores.tolist()), _shifted(own, window)
                )
        return iter([frames[index] for index in range(len(pending))])

    def _silent_frame(self, source: str, window: Window) -> ScoreFrame:
        count = len(self.classifier.labels)
        return _frame(
            source, window, (0.0,) * count, ((window.start, window.start),) * count
        )

    def _window_spans(self, activity: Activity) -> NDArray[np.int64]:
        """The active span of each label, in samples from the start of its window."""
        spec = self.classifier.spec
        return span_samples(
            active_spans(activity),  # (batch, labels, 2)
            self.classifier.total_stride,
            spec.hop_length,
            spec.n_fft,
        )


def _frame(
    source: str,
    window: Window,
    scores: tuple[float, ...],
    spans: tuple[tuple[int, int], ...],
) -> ScoreFrame:
    return ScoreFrame(
        source,
        window.start,
        window.stop,
        scores,
        spans,
        window.level.level_dbfs,
        window.peak_level_dbfs,
        window.level.laeq_db,
    )


def _shifted(spans: NDArray[np.int64], window: Window) -> tuple[tuple[int, int], ...]:
    absolute = np.minimum(spans + window.start, window.stop)
    return tuple(map(tuple, absolute.tolist()))


def rules_of(config: Config, classifier: Classifier) -> Mapping[str, LabelRule]:
    """The detection rules of `config`, completed by the thresholds of the model."""
    return resolve_rules(
        classifier.labels, config.detection, classifier.thresholds, classifier.spec
    )


def build_pipeline(config: Config, classifier: Classifier, session: str) -> Pipeline:
    """Build the pipeline for the sources of `config`.

    Raises:
        UsageError: A label or the hop is impossible.
    """
    return Pipeline(
        classifier,
        rules_of(config, classifier),
        hop_frames=config.detection.hop_frames,
        level_gate_dbfs=config.detection.level_gate_dbfs,
        level_offsets_db={
            settings.name: settings.level_offset_db for settings in config.sources
        },
        session=session,
    )
