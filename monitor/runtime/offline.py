"""Recordings through the parts of the daemon, as fast as they can be analysed."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from monitor.audio.capture import Capture
from monitor.audio.conditioning import StreamResampler, first_two_channels
from monitor.audio.sources.source import build_source
from monitor.audio.timeline import Timeline
from monitor.clock import SystemClock
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.errors import SoundMonitorError
from monitor.model.classifier import Classifier
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.records import Timed
from monitor.runtime.health import SourceHealth
from monitor.runtime.pipeline import build_pipeline
from monitor.runtime.stats import SourceMeter
from monitor.runtime.worker import Parts, SourceInput, Worker
from monitor.sinks.sink import MemorySink
from monitor.spec import ModelSpec

READ_SAMPLES = 1 << 20


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
    path: Path, classifier: Classifier, config: Config, *, source: str
) -> Analysis:
    """Analyse a recording with the detection rules of `config`, on this thread.

    The sources of `config` are not used; the records name `source`.

    Raises:
        UsageError: There is no such file.
        AudioFileError: The file is not a recording.
    """
    # Not validated: a configuration takes fewer characters than the name of a file.
    settings = SourceSettings(name=source).model_copy(update={"input": f"file:{path}"})
    config = config.model_copy(update={"sources": (settings,)})
    clock, rate, stop = SystemClock(), classifier.spec.sample_rate, threading.Event()
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
        build_pipeline(config, classifier, source),
        {source: SourceInput(timeline, None, SourceMeter(timeline), health)},
        config.health,
        source,
        sinks=[records := MemorySink()],
    )
    capture = Capture(
        build_source(settings, "max", clock.monotonic),
        timeline,
        settings,
        clock.monotonic,
    )
    timeline.worker = Worker(parts, wakeup=threading.Event(), clock=clock)
    capture.run(stop)
    timeline.worker.run(stop)
    return Analysis(records.records, capture.failure)


def log_mel_of(path: Path, spec: ModelSpec) -> NDArray[np.float32]:
    """Log-mel of a whole recording, of its first channel, for a picture.

    Returns:
        float32, shape (n_mels, frames), dB.
    """
    frames = IncrementalLogMel(LogMel(spec), channels=1)
    parts: list[NDArray[np.float32]] = []
    with soundfile.SoundFile(os.fsencode(path)) as file:
        resampler = StreamResampler(file.samplerate, spec.sample_rate, 1)

        def add(samples: NDArray[np.float32]) -> None:
            parts.append(frames.push(torch.from_numpy(samples))[0].numpy())

        for block in file.blocks(READ_SAMPLES, dtype="float32", always_2d=True):
            add(resampler.push(first_two_channels(np.ascontiguousarray(block.T))[:1]))
        add(resampler.finish())
    return np.concatenate(parts, axis=1)
