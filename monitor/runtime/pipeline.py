"""The pipeline: turns samples into records, without threads, clock or I/O.

The daemon, `analyze` and the evaluation of streams drive the same object: what is
measured is what runs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from monitor.audio.third_octaves import ThirdOctaveBands
from monitor.audio.timeline import Block
from monitor.audio.weighting import AWeighting
from monitor.config.config import Config
from monitor.detection.detector import Detector
from monitor.detection.hysteresis import Horizon
from monitor.detection.rules import LabelRule, resolve_rules
from monitor.errors import ConfigError
from monitor.model.classifier import Classifier
from monitor.model.frontend import LogMel
from monitor.model.models import Models, as_models
from monitor.records import EndReason, Event, Gap, Onset, PlacedRecord
from monitor.runtime.loading import ChosenModels
from monitor.runtime.resampled import ResampledWindows
from monitor.runtime.scoring import Scoring
from monitor.runtime.windowing import Window, Windower, WindowGrid
from monitor.spec import grid_fault

_CANDIDATES = 5

Arrival = tuple[str, Block | Gap]
"""Name of a source, and what it delivered or lost next."""


class Pipeline:
    """Turns what the sources deliver into score frames, onsets, events and gaps.

    Driven by one thread at a time.
    """

    def __init__(
        self,
        models: Models | Classifier,
        rules: Mapping[str, LabelRule],
        *,
        hop_frames: int,
        level_gate_dbfs: float,
        level_offsets_db: Mapping[str, float],
        session: str,
        reported: Mapping[str, Sequence[str]] | None = None,
        keeps_embeddings: bool = False,
        third_octaves: bool = False,
    ) -> None:
        """Prepare for the sources named by `level_offsets_db`.

        Args:
            models: The leading one fixes sample rate and frame grid.
            rules: Detection rule of each label.
            hop_frames: Frames from one window to the next.
            level_gate_dbfs: Below this level of its loudest hop the network does not
                run for a window, which scores zero.
            level_offsets_db: Offset added to the dB(A) of each source.
            session: Part of the ids of events; unique to a run.
            reported: By source, the labels whose events are reported; None: all.
            keeps_embeddings: See `Scoring`.
            third_octaves: Measure the levels of third octaves.

        Raises:
            ConfigError: The hop does not suit a model, or two models do not suit each
                other.
        """
        models = as_models(models)
        self.models = models
        members = [each.classifier for each in models.members]
        grids = [(it.name, it.spec, it.hop_frames_step) for it in members]
        if fault := grid_fault(grids, hop_frames):
            raise ConfigError(fault)
        self.rules = rules
        self._reported = reported
        self._level_gate_dbfs = level_gate_dbfs
        self._scoring = Scoring(
            models, level_gate_dbfs, keeps_embeddings=keeps_embeddings
        )
        spec = models.spec
        self.grid = WindowGrid.of(spec, hop_frames)
        log_mel, weighting = LogMel(spec), AWeighting(spec.sample_rate)
        bands = ThirdOctaveBands(spec.sample_rate) if third_octaves else None
        others = [
            (LogMel(members[index].spec), members[index].hop_frames_step)
            for index in models.resampling
        ]
        self._windowers = {
            source: Windower(
                log_mel,
                weighting,
                self.grid,
                offset_db,
                [ResampledWindows(it, spec.sample_rate, step) for it, step in others],
                sharing=len(models.sharing),
                third_octaves=bands,
            )
            for source, offset_db in level_offsets_db.items()
        }
        self._session = session
        self._explains = False
        self._detectors = {source: self._detector(source) for source in self._windowers}

    def _detector(
        self,
        source: str,
        *,
        seen_until: int = 0,
        horizons: Mapping[str, Horizon] | None = None,
    ) -> Detector:
        models, rules = self.models, self.rules
        if self._reported is not None:
            rules = {label: rules[label] for label in self._reported[source]}
        return Detector(
            source=source,
            labels=models.labels,
            rules=rules,
            level_gate_dbfs=self._level_gate_dbfs,
            models=models.names,
            rivals=models.rivals,
            session=self._session,
            seen_until=seen_until,
            horizons=horizons,
        )

    def explain(self, wanted: bool) -> None:
        """Give frames their `candidates` from now on, or no more.  Any thread."""
        self._explains = wanted

    def next_stop(self, source: str) -> int:
        """Sample index at which the next window of `source` is complete."""
        return self._windowers[source].next_stop

    def contiguous_start(self, source: str) -> int:
        """Sample index since which `source` lost nothing but what was bridged."""
        return self._windowers[source].contiguous_start

    def resume(self, source: str, before: "Pipeline", history: Block) -> None:
        """Go on with a source that `before` analysed, and finished, up to here.

        `history` are its newest samples.  The next window is reported as soon as it is
        complete; none is reported twice, and no event begins where one of `before` may
        still sound.  What is kept of the windows so far, their background among it,
        means nothing to another leading model; the other models begin anew.
        """
        self._windowers[source].resume(history)
        if self.models.network_digest == before.models.network_digest:
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
        bridged: set[Gap] = set()
        for source, item in arrivals:
            windower = self._windowers[source]
            windows: list[Window] | None
            if isinstance(item, Gap):
                steps.append((source, item))
                windows = windower.bridge(item)
                if windows is None:
                    windower.restart(item.stop)
                else:
                    bridged.add(item)
            else:
                windows = windower.push(item)
            steps.extend((source, window) for window in windows or ())
        if most_windows is not None:
            steps = self._newest(steps, most_windows)
        frames = self._scoring.frames(
            [(source, step) for source, step in steps if isinstance(step, Window)]
        )
        records: list[PlacedRecord] = []
        for source, step in steps:
            detector = self._detectors[source]
            if isinstance(step, Gap):
                ended = [] if step in bridged else detector.gap(step)
                records += [step, *ended]
            else:
                frame = next(frames)
                found = detector.push(frame)
                if detector.ongoing:
                    frame = replace(frame, ongoing=detector.ongoing)
                if self._explains:
                    candidates = detector.candidates(frame, _CANDIDATES)
                    frame = replace(frame, candidates=candidates)
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


def rules_of(
    config: Config, models: Models | Classifier, known: Iterable[str] = ()
) -> Mapping[str, LabelRule]:
    """The detection rules of `config`, completed by those of the models.

    `known` labels may have settings without being scored.
    """
    models = as_models(models)
    return resolve_rules(
        models.labels,
        config.detection,
        models.thresholds,
        models.spec,
        models.presets,
        known,
    )


def build_pipeline(
    config: Config,
    models: Models | Classifier,
    session: str,
    chosen: ChosenModels | None = None,
) -> Pipeline:
    """Build the pipeline for the sources of `config`.

    Args:
        config: The configuration.
        models: Its models.
        session: Part of the ids of events.
        chosen: The labels to report; None: all that are scored.

    Raises:
        UsageError: A label or the hop is impossible.
    """
    return Pipeline(
        models,
        rules_of(config, models, () if chosen is None else chosen.known),
        hop_frames=config.detection.hop_frames,
        level_gate_dbfs=config.detection.level_gate_dbfs,
        level_offsets_db={
            settings.name: settings.level_offset_db for settings in config.sources
        },
        session=session,
        reported=None if chosen is None else chosen.labels.reported,
        keeps_embeddings=config.store.embeddings,
        third_octaves=config.level.third_octaves,
    )
