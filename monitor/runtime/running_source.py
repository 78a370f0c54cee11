"""The running sources: capture, timeline, figures and health of each."""

import threading
from dataclasses import dataclass, replace

from monitor.audio.capture import Capture
from monitor.audio.sources.source import Source, Speed
from monitor.audio.timeline import Timeline
from monitor.clock import Clock, SampleClock
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.runtime.health import SourceHealth
from monitor.runtime.parts import SourceInput
from monitor.runtime.stats import SourceMeter
from monitor.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class RunningSource:
    """A capture, and the worker's side of it."""

    settings: SourceSettings
    capture: Capture
    input: SourceInput


@dataclass(frozen=True, slots=True)
class SourceFactory:
    """Builds the sources of a configuration, beside those that run already."""

    config: Config
    spec: ModelSpec
    session: str
    clock: Clock
    speed: Speed
    wakeup: threading.Event

    def must_reopen(self, before: RunningSource, after: SourceSettings) -> bool:
        """Return True if a source must be reopened to follow the configuration.

        A recording is not played again for a larger ring, nor when it is over.
        """
        # These are applied behind the timeline.
        behind = {"level_offset_db": after.level_offset_db, "labels": after.labels}
        if before.settings.model_copy(update=behind) != after:
            return True
        if before.capture.finished.is_set():
            return False
        timeline, rate = before.input.timeline, self.spec.sample_rate
        capacity = round(self.config.ring_seconds * rate)
        is_other_ring = before.settings.is_live and timeline.capacity != capacity
        return timeline.sample_rate != rate or is_other_ring

    def keep(self, before: RunningSource, settings: SourceSettings) -> RunningSource:
        """Return a source that continues, with its health."""
        health = before.input.health
        gate = self.config.detection.level_gate_dbfs
        if health.made_for != (self.config.health, gate, self.session):
            health = self._health(settings)
        kept = replace(before.input, health=health)
        return replace(before, settings=settings, input=kept)

    def open(
        self,
        settings: SourceSettings,
        source: Source,
        before: RunningSource | None,
        ended: int | None,
    ) -> RunningSource:
        """Connect a source to a timeline; nothing is opened.

        `before` is the source of this name until now, whose capture has ended;
        `ended` is the last sample index of one that was removed in this session.
        """
        rate = self.spec.sample_rate
        start, since = self._place(before, ended)
        timeline = Timeline(settings.name, rate, self.config.ring_seconds, start)
        timeline.wakeup = self.wakeup
        sample_clock = None
        if settings.is_live or self.speed == "realtime":
            sample_clock = SampleClock(self.clock, rate, start=start)
        if not settings.is_live:
            since = None
        if sample_clock is not None and since is not None:
            sample_clock.anchor([(start, since)])
        capture = Capture(
            source, timeline, settings, self.clock.monotonic, missing_since=since
        )
        health = self._health(settings)
        worker_side = SourceInput(
            timeline, sample_clock, SourceMeter(timeline), health, settings.is_live
        )
        return RunningSource(settings, capture, worker_side)

    def _place(
        self, before: RunningSource | None, ended: int | None
    ) -> tuple[int, float | None]:
        """Index of the first sample, and the time since which samples are missing.

        Within a session no index stands for two moments.
        """
        if before is None:
            # A window further: it is not taken for the continuation of the sound.
            return 0 if ended is None else ended + self.spec.window_samples, None
        timeline, sample_clock = before.input.timeline, before.input.sample_clock
        stop, is_same_rate = (
            timeline.stop,
            timeline.sample_rate == self.spec.sample_rate,
        )
        if sample_clock is None:
            return stop + self.spec.window_samples if is_same_rate else 0, None
        return stop if is_same_rate else 0, sample_clock.monotonic(stop)

    def _health(self, settings: SourceSettings) -> SourceHealth:
        return SourceHealth(
            settings.name,
            self.spec.sample_rate,
            self.config.health,
            level_gate_dbfs=self.config.detection.level_gate_dbfs,
            session=self.session,
            live=settings.is_live,
        )
