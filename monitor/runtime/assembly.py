"""Puts the parts of a monitor together, for the daemon and for recordings alike."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from monitor.audio.capture import Capture
from monitor.audio.sources.source import Source, build_source
from monitor.audio.timeline import Timeline
from monitor.clock import Clock, SampleClock
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.detection.rules import LabelRule, resolve_rules
from monitor.errors import SoundMonitorError
from monitor.model.classifier import Classifier
from monitor.runtime.health import HealthReports, HealthWatch
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.services import AudioHistory
from monitor.runtime.threads import Running, Threads, join
from monitor.runtime.worker import Lineup, Worker
from monitor.sinks.sink import Sink

Speed = Literal["realtime", "max"]


@dataclass(frozen=True, slots=True)
class Ear:
    """One source, and what brings its samples to the worker."""

    settings: SourceSettings
    capture: Capture
    timeline: Timeline
    sample_clock: SampleClock | None
    """None: a recording whose time is unknown."""


class Monitor:
    """Captures, each on a thread, and the worker that analyses what they deliver."""

    def __init__(self, ears: Mapping[str, Ear], worker: Worker) -> None:
        """Connect nothing: the timelines of `ears` are those of the worker."""
        self.ears = ears
        """By source; replaced as a whole."""

        self.worker = worker
        self._running: dict[str, Running] = {}

    def start(self, threads: Threads) -> None:
        """Start a thread for each capture and one for the worker."""
        self.start_captures(self.ears, threads)
        threads.start("worker", lambda _: self.worker.run(threads.stop))

    def start_captures(self, names: Iterable[str], threads: Threads) -> None:
        """Start the threads of some captures."""
        for name in names:
            run = self.ears[name].capture.run
            self._running[name] = threads.start(f"capture-{name}", run)

    def end_captures(self, names: Iterable[str], seconds: float) -> list[str]:
        """End the threads of some captures, and wait for that; the names of the late.

        What they delivered stays in their timelines.
        """
        running = [self._running.pop(name) for name in names]
        for each in running:
            each.stop.set()
        return join(running, seconds)

    def turns(self) -> dict[str, float]:
        """When each thread that has something to do last moved, monotonic seconds."""
        turns = {
            f"capture-{name}": ear.capture.latest_turn
            for name, ear in self.ears.items()
            if not ear.capture.finished.is_set()
        }
        return {**turns, "worker": self.worker.latest_turn}

    @property
    def failure(self) -> SoundMonitorError | None:
        """Why a recording could not be played, or not to its end."""
        failures = (ear.capture.failure for ear in self.ears.values())
        return next((failure for failure in failures if failure is not None), None)


def build_monitor(
    config: Config,
    classifier: Classifier,
    sinks: Sequence[Sink],
    *,
    speed: Speed,
    session: str,
    clock: Clock,
    past: AudioHistory | None = None,
    model: str = "",
    desk: HealthReports | None = None,
) -> Monitor:
    """Build everything between the sources of `config` and `sinks`.

    Recordings fed at full speed get no time of day: theirs is unknown.

    Raises:
        UsageError: A source, a label or the hop cannot be what the configuration says.
    """
    wakeup = threading.Event()
    ears = {
        settings.name: build_ear(
            settings,
            build_source(settings, speed, clock.monotonic),
            Timeline(settings.name, classifier.spec.sample_rate, config.ring_seconds),
            clock,
            speed,
        )
        for settings in config.sources
    }
    for ear in ears.values():
        ear.timeline.wakeup = wakeup
    if past is not None:
        past.follow(ear.timeline for ear in ears.values())
    pipeline = build_pipeline(config, classifier, session)
    health = build_health(config, classifier, session, desk or HealthReports())
    lineup = build_lineup(ears, pipeline, sinks, model, health)
    return Monitor(ears, Worker(lineup, wakeup=wakeup, clock=clock))


def build_ear(
    settings: SourceSettings,
    source: Source,
    timeline: Timeline,
    clock: Clock,
    speed: Speed,
    *,
    missing_since: float | None = None,
) -> Ear:
    """Connect a source to its timeline; nothing is opened.

    Args:
        settings: Of the source.
        source: As they say.
        timeline: Takes the samples.
        clock: Of the machine.
        speed: A recording at full speed gets no time of day.
        missing_since: See `Capture`.
    """
    capture = Capture(
        source, timeline, settings, clock.monotonic, missing_since=missing_since
    )
    has_time = settings.is_live or speed == "realtime"
    sample_clock = SampleClock(clock, timeline.sample_rate) if has_time else None
    return Ear(settings, capture, timeline, sample_clock)


def build_pipeline(config: Config, classifier: Classifier, session: str) -> Pipeline:
    """Build what turns samples of the sources of `config` into records.

    Raises:
        UsageError: A label or the hop cannot be what the configuration says.
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


def build_health(
    config: Config, classifier: Classifier, session: str, desk: HealthReports
) -> HealthWatch:
    """Build what judges the sources of `config`."""
    return HealthWatch.of(
        config, sample_rate=classifier.spec.sample_rate, session=session, desk=desk
    )


def build_lineup(
    ears: Mapping[str, Ear],
    pipeline: Pipeline,
    sinks: Sequence[Sink],
    model: str,
    health: HealthWatch,
) -> Lineup:
    """Put together what the worker drives."""
    return Lineup(
        pipeline,
        {name: ear.timeline for name, ear in ears.items()},
        {
            name: ear.sample_clock
            for name, ear in ears.items()
            if ear.sample_clock is not None
        },
        sinks,
        model,
        health,
    )


def rules_of(config: Config, classifier: Classifier) -> Mapping[str, LabelRule]:
    """The detection rules of `config`, completed by the thresholds of the model."""
    return resolve_rules(
        classifier.labels, config.detection, classifier.thresholds, classifier.spec
    )
