"""From samples to records, without threads, clock or I/O.

The daemon, `analyze` and the evaluation of streams drive the same object, so that what
is measured is what runs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.audio.timeline import Block
from monitor.detection.detector import Detector
from monitor.detection.rules import LabelRule
from monitor.errors import ConfigError
from monitor.model.classifier import Activity, Classifier, active_spans, span_samples
from monitor.model.frontend import LogMel
from monitor.records import EndReason, Gap, PlacedRecord, ScoreFrame
from monitor.runtime.windowing import Track, Window, WindowGrid

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
            rules: Of each label, how its scores become events.
            hop_frames: Frames from one window to the next.
            level_gate_dbfs: See `DetectionSettings`.
            level_offsets_db: For each source what is added to its dB(A).
            session: Told apart in the ids of events; a run's is unique.

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
        log_mel = LogMel(spec)
        self._tracks = {
            source: Track(log_mel, self.grid, offset_db)
            for source, offset_db in level_offsets_db.items()
        }
        self._detectors = {
            source: Detector(
                source=source,
                labels=classifier.labels,
                rules=rules,
                level_gate_dbfs=level_gate_dbfs,
                model_name=classifier.name,
                session=session,
            )
            for source in level_offsets_db
        }

    def next_stop(self, source: str) -> int:
        """Sample index at which the next window of `source` is complete."""
        return self._tracks[source].next_stop

    def take_over(self, source: str, before: "Pipeline", *, is_same_model: bool) -> int:
        """Go on with a source where `before` is, which has it no more afterwards.

        With the same model, what sounds goes on under the new rules; with another one
        it has been ended by `finish`.

        Returns:
            The first sample that must be processed again, up to where `before` is: the
            windows that it has told are not told again.
        """
        if is_same_model:
            detector = before._detectors[source]
            detector.change(self._rules, self._level_gate_dbfs)
            self._detectors[source] = detector
        else:
            self._detectors[source].begin_after(before._detectors[source].ends)
        track, old = self._tracks[source], before._tracks[source]
        if old.is_like(track):
            self._tracks[source] = old
            return old.stop
        return track.go_on_from(old)

    def process(self, arrivals: Iterable[Arrival]) -> list[PlacedRecord]:
        """Take what the sources delivered since the last call.

        Returns:
            The records of each source in the order of its samples.
        """
        steps: list[tuple[str, Window | Gap]] = []
        for source, item in arrivals:
            if isinstance(item, Gap):
                self._tracks[source].restart(item.stop)
                steps.append((source, item))
            else:
                windows = self._tracks[source].push(item)
                steps.extend((source, window) for window in windows)
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
                records += [replace(frame, ongoing=detector.ongoing), *found]
        return records

    def finish(self, source: str, reason: EndReason) -> list[PlacedRecord]:
        """End what is still going on in `source`: its samples are over."""
        return [*self._detectors[source].finish(reason)]

    def _classify(self, pending: Sequence[tuple[str, Window]]) -> Iterator[ScoreFrame]:
        """Score all windows of all sources, those of equal shape as one batch."""
        frames: dict[int, ScoreFrame] = {}
        for channels in (1, 2):
            chosen = [
                index
                for index, (_, window) in enumerate(pending)
                if window.log_mel.shape[0] == channels
            ]
            if not chosen:
                continue
            batch = torch.stack([pending[index][1].log_mel for index in chosen])
            result = self.classifier.classify(batch)
            spans = self._window_spans(result.activity)
            for index, scores, own in zip(chosen, result.scores, spans, strict=True):
                source, window = pending[index]
                frames[index] = ScoreFrame(
                    source,
                    window.start,
                    window.stop,
                    tuple(scores.tolist()),
                    _shifted(own, window),
                    window.level.level_dbfs,
                    window.peak_level_dbfs,
                    window.level.laeq_db,
                )
        return iter([frames[index] for index in range(len(pending))])

    def _window_spans(self, activity: Activity) -> NDArray[np.int64]:
        """The active stretch of each label, in samples from the start of its window."""
        spec = self.classifier.spec
        return span_samples(
            active_spans(activity),  # (batch, labels, 2)
            self.classifier.total_stride,
            spec.hop_length,
            spec.n_fft,
        )


def _shifted(spans: NDArray[np.int64], window: Window) -> tuple[tuple[int, int], ...]:
    absolute = np.minimum(spans + window.start, window.stop)
    return tuple((int(start), int(stop)) for start, stop in absolute)
