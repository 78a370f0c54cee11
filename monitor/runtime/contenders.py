"""The contenders of the benchmark: each turns a stretch of sound into scores.

A contender runs in a process of its own, with one thread on the CPU.  The process
reports its start, then runs as many steps as each line on stdin asks for.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from monitor.audio.ring import Samples
from monitor.audio.timeline import Block
from monitor.config.config import Config
from monitor.errors import SoundMonitorError, UsageError
from monitor.extras import pip_install, require_extra
from monitor.memory import resident_bytes
from monitor.model.card import INCLUDED
from monitor.model.classifier import Classifier
from monitor.model.engines import WindowHistory, WindowPlace
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.model.model_file import load_model
from monitor.model.models import Models, as_models
from monitor.runtime.loading import ChosenModels, choose_models, load_models
from monitor.runtime.pipeline import build_pipeline
from monitor.spec import ModelSpec

Step = Callable[[], object]

ARTICLE, SCORES, RECORDS, FOREIGN = "article", "scores", "records", "foreign"
"""Kinds: the article's method; ours to the scores, or to the records; another model."""

TOGETHER = "+".join(INCLUDED)
"""Stands for all included models at once, in place of a file."""


@dataclass(frozen=True, slots=True)
class Work:
    """A step that can be repeated, and the sound that it covers."""

    step: Step
    seconds: float


def prepare(kind: str, file: str | None) -> Work:
    """Build a contender and run its first step.

    Raises:
        SoundMonitorError: It needs a library or a file that is not there.
    """
    if kind == ARTICLE:
        work = article_method()
    elif kind == FOREIGN:
        assert file is not None
        work = foreign_model(Path(file))
    elif kind == SCORES:
        work = samples_to_scores(Classifier(load_model(file), "cpu", 1))
    else:
        alone = None if file is None else (file,)
        config = Config(models=INCLUDED if file == TOGETHER else alone)
        chosen = choose_models(config)
        work = samples_to_records(load_models(config.model, chosen), chosen)
    work.step()
    return work


def samples_to_records(
    models: Models | Classifier, chosen: ChosenModels | None = None
) -> Work:
    """Prepare the whole analysis of one hop of a live mono source."""
    config, models = Config(), as_models(models)
    pipeline = build_pipeline(config, models, "benchmark", chosen)
    source, hop = config.sources[0].name, pipeline.grid.hop_samples
    samples = _noise(1, hop)
    start = 0

    def step() -> None:
        nonlocal start
        pipeline.process([(source, Block(start, samples))])
        start += hop

    while start < models.spec.window_samples:
        step()
    return Work(step, models.spec.seconds(hop))


def samples_to_scores(classifier: Classifier) -> Work:
    """Prepare the log-mel of one hop, and the network on the window that ends there."""
    spec = classifier.spec
    frames = IncrementalLogMel(LogMel(spec), channels=1)
    hop = Config().detection.hop_frames * spec.hop_length
    samples = _noise(1, hop)
    window = np.zeros((1, spec.n_mels, spec.window_frames), np.float32)
    history = WindowHistory()

    def step() -> None:
        nonlocal window
        place = WindowPlace(history, frames.next_frame)
        joined = np.concatenate([window, frames.push(samples)], axis=-1)
        window = joined[..., -spec.window_frames :]
        classifier.classify(window[None], [place])

    return Work(step, spec.seconds(hop))


def article_method() -> Work:
    """Prepare the article's method for one window.

    A stereo mel spectrogram of the whole four seconds, centred, in dB below the loudest
    bin, and the network, eager, with a batch of one.
    """
    require_extra("train", "torchaudio", "the article's method")
    import torch
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    from monitor.model.networks import build_network

    torch.set_num_threads(1)
    spec = ModelSpec()
    rate = spec.sample_rate
    mel = MelSpectrogram(rate, n_fft=1024, hop_length=512, n_mels=64)
    decibels = AmplitudeToDB(top_db=80)
    network = build_network("article", spec, 10).eval()
    samples = torch.from_numpy(_noise(2, 4 * rate))

    @torch.no_grad()
    def step() -> None:
        network(decibels(mel(samples)[None]))

    hop = Config().detection.hop_frames * spec.hop_length
    return Work(step, spec.seconds(hop))


def foreign_model(file: Path) -> Work:
    """Prepare an ONNX or TFLite model, whose input is filled with zeros.

    Its windows overlap by half: an input of one axis counts as samples at 16 kHz, any
    other as one of our windows, a hop apart.
    """
    check_foreign(file)
    spec = ModelSpec()
    hop = Config().detection.hop_frames * spec.hop_length
    try:
        size, step = _tflite(file) if file.suffix == TFLITE else _onnx(file)
    # The libraries raise what they like at a file that they cannot read.
    except Exception as error:
        raise UsageError(
            f"--against: {file}: cannot be used ({error!s:.200})"
        ) from error
    return Work(step, size / _FOREIGN_RATE / 2 if size else spec.seconds(hop))


def check_foreign(file: Path) -> None:
    """Check that there is a model in `file`, and the library that runs it.

    Raises:
        UsageError: One of them is missing.
    """
    if not file.is_file():
        raise UsageError(f"--against: {file}: there is no such file")
    if file.suffix == TFLITE and find_spec("ai_edge_litert") is None:
        raise UsageError(
            f"--against: {file}: needs LiteRT, which is not installed: run "
            f"`{pip_install('ai-edge-litert')}`"
        )


TFLITE = ".tflite"

_FOREIGN_RATE = 16_000


def _tflite(file: Path) -> tuple[int, Step]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    interpreter.allocate_tensors()
    (given, *_) = interpreter.get_input_details()
    interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
    return _samples_of(given["shape"].tolist()), interpreter.invoke


def _onnx(file: Path) -> tuple[int, Step]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(file), options, providers=["CPUExecutionProvider"]
    )
    given = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in given.shape]
    inputs = {given.name: np.zeros(shape, np.float32)}
    return _samples_of(shape), lambda: session.run(None, inputs)


def _samples_of(shape: list[int]) -> int:
    """Samples of an input that is a waveform; 0: it is none."""
    return max(shape) if sum(size > 1 for size in shape) == 1 else 0


def resident_mib() -> float:
    """Memory of this process; its peak where the system does not report the rest."""
    if (resident := resident_bytes()) is not None:
        return resident / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def serve(kind: str, file: str | None) -> None:
    """Run as a process of its own: a line of JSON for the start and for each round."""
    try:
        work = prepare(kind, file)
    except SoundMonitorError as error:
        sys.exit(str(error))
    _print({"seconds": work.seconds, "rss_mib": resident_mib()})
    for line in sys.stdin:
        taken = []
        for _ in range(int(line)):
            before = time.process_time()
            work.step()
            taken.append(1e3 * (time.process_time() - before))
        _print(taken)


def _noise(channels: int, samples: int) -> Samples:
    generator = np.random.default_rng(0)
    return generator.normal(0, 0.05, (channels, samples)).astype(np.float32)


def _print(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2] or None)
