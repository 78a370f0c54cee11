"""Recordings through the daemon's own parts, as fast as they can be analysed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from monitor.audio.conditioning import StreamResampler, adapt
from monitor.clock import SystemClock
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.errors import SoundMonitorError
from monitor.model.classifier import Classifier
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.records import Timed
from monitor.runtime.assembly import build_monitor
from monitor.runtime.threads import Threads
from monitor.sinks.sink import MemorySink
from monitor.spec import ModelSpec

READ_SAMPLES = 1 << 20


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was heard in a recording."""

    records: list[Timed]
    """Score frames, onsets, events and gaps in order, without time of day."""

    failure: SoundMonitorError | None
    """Why the recording was not heard to its end."""


def analyze_file(
    path: Path, classifier: Classifier, config: Config, *, source: str
) -> Analysis:
    """Listen to a recording with the detection rules of `config`.

    Args:
        path: Any file that libsndfile reads.
        classifier: The network.
        config: Its sources are not used.
        source: Name of the recording in the records.

    Raises:
        UsageError: There is no such file.
        AudioFileError: The file is not a recording.
    """
    settings = SourceSettings(name=source, input=f"file:{path}")
    collector = MemorySink()
    monitor = build_monitor(
        config.model_copy(update={"sources": (settings,)}),
        classifier,
        [collector],
        speed="max",
        session=source,
        clock=SystemClock(),
    )
    threads = Threads()
    monitor.start(threads)
    try:
        threads.stop.wait()
    finally:
        threads.stop.set()
        threads.join(float("inf"))
    if threads.failure is not None:
        raise threads.failure
    return Analysis(collector.records, monitor.failure)


def log_mel_of(path: Path, spec: ModelSpec) -> NDArray[np.float32]:
    """Log-mel of a whole recording, of its first channel, for a picture.

    Returns:
        float32, shape (n_mels, frames), dB.
    """
    frames = IncrementalLogMel(LogMel(spec), channels=1)
    parts: list[NDArray[np.float32]] = []
    with soundfile.SoundFile(path) as file:
        resampler = StreamResampler(file.samplerate, spec.sample_rate, 1)

        def add(samples: NDArray[np.float32]) -> None:
            parts.append(frames.push(torch.from_numpy(samples))[0].numpy())

        for block in file.blocks(READ_SAMPLES, dtype="float32", always_2d=True):
            add(resampler.push(adapt(np.ascontiguousarray(block.T))[:1]))
        add(resampler.finish())
    return np.concatenate(parts, axis=1)
