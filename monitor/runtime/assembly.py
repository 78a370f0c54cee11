"""Puts the parts of a monitor together, for the daemon and for recordings alike."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from monitor.audio.capture import Capture
from monitor.audio.feed import Feed
from monitor.audio.sources import build_source
from monitor.config.config import Config
from monitor.detection.presets import LabelRule, resolve_rules
from monitor.errors import SoundMonitorError
from monitor.model.classifier import Classifier
from monitor.runtime.clock import Clock, SampleClock
from monitor.runtime.past import Past
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.threads import Threads
from monitor.runtime.worker import Worker
from monitor.sinks.sink import Sink

Speed = Literal["realtime", "max"]


@dataclass(frozen=True, slots=True)
class Monitor:
    """Captures and the worker that analyses what they deliver."""

    captures: Mapping[str, Capture]
    """By the name of the source."""

    worker: Worker

    def start(self, threads: Threads) -> None:
        """Start a thread for each capture and one for the worker."""
        for name, capture in self.captures.items():
            threads.start(f"capture-{name}", capture.run)
        threads.start("worker", lambda _: self.worker.run(threads.stop))

    def turns(self) -> dict[str, float]:
        """When each thread that has something to do last moved, monotonic seconds."""
        turns = {
            f"capture-{name}": capture.latest_turn
            for name, capture in self.captures.items()
            if not capture.finished.is_set()
        }
        return {**turns, "worker": self.worker.latest_turn}

    @property
    def failure(self) -> SoundMonitorError | None:
        """Why a recording could not be played, or not to its end."""
        failures = (capture.failure for capture in self.captures.values())
        return next((failure for failure in failures if failure is not None), None)


def build_monitor(
    config: Config,
    classifier: Classifier,
    sinks: Sequence[Sink],
    *,
    speed: Speed,
    session: str,
    clock: Clock,
    past: Past | None = None,
) -> Monitor:
    """Build everything between the sources of `config` and `sinks`.

    Recordings fed at full speed get no time of day: theirs is unknown.

    Raises:
        UsageError: A source, a label or the hop cannot be what the configuration says.
    """
    spec = classifier.spec
    wakeup = threading.Event()
    feeds: list[Feed] = []
    captures: dict[str, Capture] = {}
    sample_clocks: dict[str, SampleClock] = {}
    for settings in config.sources:
        source = build_source(settings, speed, clock.monotonic)
        feed = Feed(settings.name, spec.sample_rate, config.ring_seconds)
        feed.wakeup = wakeup
        feeds.append(feed)
        captures[settings.name] = Capture(source, feed, settings, clock.monotonic)
        if source.live or speed == "realtime":
            sample_clocks[settings.name] = SampleClock(clock, spec.sample_rate)
    if past is not None:
        past.follow(feeds)
    pipeline = Pipeline(
        classifier,
        rules_of(config, classifier),
        hop_frames=config.detection.hop_frames,
        level_gate_dbfs=config.detection.level_gate_dbfs,
        level_offsets_db={
            settings.name: settings.level_offset_db for settings in config.sources
        },
        session=session,
    )
    worker = Worker(
        pipeline,
        feeds,
        sinks,
        wakeup=wakeup,
        clock=clock,
        sample_clocks=sample_clocks,
        sample_rate=spec.sample_rate,
    )
    return Monitor(captures, worker)


def rules_of(config: Config, classifier: Classifier) -> Mapping[str, LabelRule]:
    """The detection rules of `config`, completed by the thresholds of the model."""
    return resolve_rules(
        classifier.labels, config.detection, classifier.thresholds, classifier.spec
    )
