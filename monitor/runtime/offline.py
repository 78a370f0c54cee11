"""Recordings through the parts of the daemon, as fast as they can be analysed."""

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.audio.capture import Capture
from monitor.audio.conditioning import StreamResampler
from monitor.audio.sources.file import File
from monitor.audio.sources.recording import Recording
from monitor.audio.timeline import Timeline
from monitor.clock import SystemClock
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.errors import AudioFileError, SoundMonitorError
from monitor.model.classifier import Classifier
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.model.models import Models, as_models
from monitor.records import Timed
from monitor.runtime.health import SourceHealth
from monitor.runtime.loading import ChosenModels
from monitor.runtime.parts import Parts, SourceInput
from monitor.runtime.pipeline import build_pipeline
from monitor.runtime.stats import SourceMeter
from monitor.runtime.worker import Worker
from monitor.sinks.sink import MemorySink
from monitor.spec import ModelSpec

_READ_SAMPLES = 1 << 20


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
    """Analyse a recording with the detection rules of `config`, on this thread.

    Args:
        path: The recording.
        models: They listen.
        config: Its sources are not used.
        source: Name in the records.
        chosen: The labels that are reported, of any source; None: all.

    Raises:
        UsageError: There is no such file.
        AudioFileError: The file is not a recording.
    """
    settings = SourceSettings(name=source, input="file:of that name")
    config = config.model_copy(update={"sources": (settings,)})
    models = as_models(models)
    clock, rate, stop = SystemClock(), models.spec.sample_rate, threading.Event()
    timeline = _DrivenTimeline(source, rate, config.ring_seconds)
    health = SourceHealth(
        source,
        rate,
        config.health,
        level_gate_dbfs=config.detection.level_gate_dbfs,
        session=source,
        live=False,
    )
    parts = Parts(
        build_pipeline(
            config, models, source, None if chosen is None else chosen.of_one(source)
        ),
        {source: SourceInput(timeline, None, SourceMeter(timeline), health)},
        config.health,
        source,
        sinks=[records := MemorySink()],
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
    return Analysis(records.records, capture.failure)


def log_mel_of(path: Path, spec: ModelSpec) -> NDArray[np.float32]:
    """Log-mel of a whole recording, of the mean of its channels, for a picture.

    Returns:
        float32, shape (n_mels, frames), dB.
    """
    frames = IncrementalLogMel(LogMel(spec), channels=1)
    parts: list[NDArray[np.float32]] = []
    with Recording(path) as recording:
        resampler = StreamResampler(recording.sample_rate, spec.sample_rate, 1)

        def add(samples: NDArray[np.float32]) -> None:
            parts.append(frames.push(samples)[0])

        # What is wrong at its end has been said where it was analysed.
        with contextlib.suppress(AudioFileError):
            for block in recording.blocks(_READ_SAMPLES):
                add(resampler.push(block.mean(axis=0, keepdims=True)))
        add(resampler.finish())
    return np.concatenate(parts, axis=1)
