"""Recordings through the parts of the daemon, as fast as they can be analysed."""

import threading
from dataclasses import dataclass
from pathlib import Path

from monitor.audio.capture import Capture
from monitor.audio.sources.file import File
from monitor.audio.timeline import Timeline
from monitor.clock import SystemClock
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.errors import SoundMonitorError
from monitor.model.classifier import Classifier
from monitor.model.models import Models, as_models
from monitor.records import Timed
from monitor.runtime.health import SourceHealth
from monitor.runtime.loading import ChosenModels
from monitor.runtime.parts import Parts, SourceInput
from monitor.runtime.pipeline import build_pipeline
from monitor.runtime.stats import SourceMeter
from monitor.runtime.worker import Worker
from monitor.sinks.sink import MemorySink, Sink


@dataclass(frozen=True, slots=True)
class Analysis:
    """The records of a recording."""

    records: list[Timed]
    """Score frames, onsets, events, gaps and health in order, without time of day."""

    failure: SoundMonitorError | None
    """Error that ended the recording early; None: it was read to its end."""


class _DrivenTimeline(Timeline):
    """A timeline that the worker empties on the thread of the capture."""

    worker: Worker

    def wait_for_room(self, count: int, stop: threading.Event) -> bool:
        """Have the worker analyse the samples written so far."""
        self.worker.step()
        return super().wait_for_room(count, stop)


def analyze_file(
    path: Path,
    models: Models | Classifier,
    config: Config,
    *,
    source: str,
    chosen: ChosenModels | None = None,
) -> Analysis:
    """Analyse a recording and keep its records in memory; see `analyze_into`."""
    records = MemorySink()
    failure = analyze_into(
        records, path, models, config, source=source, session=source, chosen=chosen
    )
    return Analysis(records.records, failure)


def analyze_into(
    sink: Sink,
    path: Path,
    models: Models | Classifier,
    config: Config,
    *,
    source: str,
    session: str,
    level_offset_db: float = 0.0,
    chosen: ChosenModels | None = None,
) -> SoundMonitorError | None:
    """Analyse a recording with the detection rules of `config`, on this thread.

    Args:
        sink: Takes the records as they come, and is closed at the end.
        path: The recording.
        models: They listen.
        config: Its sources are not used.
        source: Name in the records.
        session: Part of the ids of events.
        level_offset_db: Added to A-weighted levels.
        chosen: The labels that are reported, of any source; None: all.

    Returns:
        Error that ended the recording early; None: it was read to its end.

    Raises:
        UsageError: There is no such file.
        AudioFileError: The file is not a recording.
    """
    settings = SourceSettings(
        name=source, input="file:of that name", level_offset_db=level_offset_db
    )
    config = config.model_copy(update={"sources": (settings,)})
    models = as_models(models)
    clock, rate, stop = SystemClock(), models.spec.sample_rate, threading.Event()
    timeline = _DrivenTimeline(source, rate, config.ring_seconds)
    health = SourceHealth(
        source,
        rate,
        config.health,
        level_gate_dbfs=config.detection.level_gate_dbfs,
        session=session,
        live=False,
    )
    parts = Parts(
        build_pipeline(
            config, models, session, None if chosen is None else chosen.of_one(source)
        ),
        {source: SourceInput(timeline, None, SourceMeter(timeline), health)},
        config.health,
        session,
        sinks=[sink],
    )
    capture = Capture(
        File(path, "max", clock.monotonic),
        timeline,
        settings,
        clock.monotonic,
    )
    wakeup = threading.Event()
    timeline.worker = Worker(parts, wakeup=wakeup, clock=clock)
    capture.run(stop)
    wakeup.set()  # nothing is left to wait for
    timeline.worker.run(stop)
    return capture.failure
