"""Processor time and memory of live analysis, compared with the article's method.

Measured in a fresh process with one thread on the CPU, so that neither earlier work nor
other cores affect the figures.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from pydantic import TypeAdapter
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

from monitor.audio.ring import Samples
from monitor.audio.timeline import Block
from monitor.config.config import Config
from monitor.errors import SoundMonitorError
from monitor.model.card import ModelCard, read_card
from monitor.model.classifier import Classifier
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.model.model_file import TrainedModel, load_model, save_model
from monitor.model.networks import build_network
from monitor.runtime.pipeline import build_pipeline
from monitor.spec import ModelSpec

Step = Callable[[], object]

WINDOWS = 200
PROCESSES = 3
"""The article's method costs 4.5 or 8 ms, depending on the layout of the heap, since it
allocates and returns large buffers.  So the median process counts."""

_STEPS_IN_ROUND = 20
_WARM_UP = 5
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PROGRAM = "from monitor.runtime.benchmark import measure_here; measure_here(*{!r})"


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of one hop of a live mono source, measured by the process itself."""

    hop_seconds: float
    scores_ms: float
    records_ms: float
    baseline_ms: float
    rss_mib: float


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The figures of `sound-monitor benchmark`, as in its JSON.

    All are of one live mono source at the default hop; see `typical_cpu_ms`.
    """

    real_time_factor: float
    """Processor time of the whole pipeline divided by the duration of the sound."""

    cpu_ms_per_window: float
    """Time from the samples of a hop to the scores of its window."""

    baseline_cpu_ms_per_window: float
    """The same by the article's method; see `baseline`."""

    speedup: float
    """Ratio of these two."""

    pipeline_cpu_ms_per_window: float
    """Time from samples to records, with levels, windows and detection."""

    sources_per_core: int
    """Number of sources that one core can analyse."""

    rss_mib: float
    """Memory of a process that listens, including shared library pages."""

    startup_seconds: float
    """Time from the start of a process to a model that is loaded and verified."""


def run_benchmark(
    model: Path | None, preset: str | None = None, windows: int = WINDOWS
) -> Benchmark:
    """Measure a model in fresh processes; with a `preset`, that network, untrained.

    Raises:
        ModelFileError, UsageError: There is no such model or preset.
    """
    with TemporaryDirectory(prefix="sound-monitor-") as folder:
        if preset is not None:
            model = Path(folder) / "untrained.safetensors"
            _save_untrained(model, preset)
        read_card(model)  # rejects a wrong file before a process is started
        path = None if model is None else str(model.absolute())
        runs = [_measure_in_process(path, windows) for _ in range(PROCESSES)]
    runs.sort(key=lambda run: run[1].baseline_ms / run[1].scores_ms)
    startup_seconds, costs = runs[PROCESSES // 2]
    hop_ms = 1e3 * costs.hop_seconds
    return Benchmark(
        real_time_factor=costs.records_ms / hop_ms,
        cpu_ms_per_window=costs.scores_ms,
        baseline_cpu_ms_per_window=costs.baseline_ms,
        speedup=costs.baseline_ms / costs.scores_ms,
        pipeline_cpu_ms_per_window=costs.records_ms,
        sources_per_core=int(hop_ms / costs.records_ms),
        rss_mib=costs.rss_mib,
        startup_seconds=startup_seconds,
    )


def samples_to_records(classifier: Classifier) -> tuple[float, Step]:
    """Prepare the whole analysis of one hop of a live mono source.

    Returns:
        Seconds from hop to hop, and a function that analyses the next hop.
    """
    config = Config()
    pipeline = build_pipeline(config, classifier, session="benchmark")
    source, hop = config.sources[0].name, pipeline.grid.hop_samples
    samples = _noise(1, hop)
    start = 0

    def step() -> None:
        nonlocal start
        pipeline.process([(source, Block(start, samples))])
        start += hop

    while start < classifier.spec.window_samples:
        step()
    return classifier.spec.seconds(hop), step


def samples_to_scores(classifier: Classifier) -> Step:
    """Prepare the log-mel of one hop, and the network on the window that ends there."""
    spec = classifier.spec
    frames = IncrementalLogMel(LogMel(spec), channels=1)
    hop = Config().detection.hop_frames * spec.hop_length
    samples = torch.from_numpy(_noise(1, hop))
    window = torch.zeros(1, spec.n_mels, spec.window_frames)

    def step() -> None:
        nonlocal window
        joined = torch.cat([window, frames.push(samples)], dim=-1)
        window = joined[..., -spec.window_frames :]
        classifier.classify(window[None])

    return step


def baseline() -> Step:
    """Prepare the article's method for one window.

    A stereo mel spectrogram of the whole four seconds, centred, in dB below the loudest
    bin, and the network, eager, with a batch of one.
    """
    spec = ModelSpec()
    rate = spec.sample_rate
    mel = MelSpectrogram(rate, n_fft=1024, hop_length=512, n_mels=64)
    decibels = AmplitudeToDB(top_db=80)
    network = build_network("article", spec, 10).eval()
    samples = torch.from_numpy(_noise(2, 4 * rate))

    @torch.no_grad()
    def step() -> None:
        network(decibels(mel(samples)[None]))

    return step


def measure_here(model: str | None, windows: int) -> None:
    """Measure this process and write `Costs` to stdout.  Runs in a fresh process."""
    try:
        classifier = Classifier(load_model(model), compute_device="cpu", threads=1)
    except SoundMonitorError as error:
        sys.exit(str(error))
    _print("ready")
    hop_seconds, records = samples_to_records(classifier)
    records()
    rss_mib = resident_mib()  # before the baseline adds to it
    steps = (samples_to_scores(classifier), records, baseline())
    scores_ms, records_ms, baseline_ms = typical_cpu_ms(steps, windows)
    costs = Costs(hop_seconds, scores_ms, records_ms, baseline_ms, rss_mib)
    _print(TypeAdapter(Costs).dump_json(costs).decode())


def typical_cpu_ms(
    steps: Sequence[Step],
    count: int,
    cpu_seconds: Callable[[], float] = time.process_time,
) -> list[float]:
    """Median processor time of each of `steps`, in ms.

    The steps take turns in rounds, so that other load on the machine affects them
    equally; the result is the median of the medians of the rounds.
    """

    def median(step: Step) -> float:
        for _ in range(_WARM_UP):
            step()
        taken = []
        for _ in range(_STEPS_IN_ROUND):
            before = cpu_seconds()
            step()
            taken.append(cpu_seconds() - before)
        return 1e3 * statistics.median(taken)

    rounds = [
        [median(step) for step in steps] for _ in range(-(-count // _STEPS_IN_ROUND))
    ]
    return [statistics.median(medians) for medians in zip(*rounds, strict=True)]


def resident_mib() -> float:
    """Memory of this process; its peak where the system does not report the rest."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _measure_in_process(model: str | None, windows: int) -> tuple[float, Costs]:
    """Start-up time and costs of a fresh process that has one thread."""
    package_folder = str(Path(__file__).parents[2])
    search_path = [package_folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, "1")
    environment["PYTHONPATH"] = os.pathsep.join(search_path)
    program = _PROGRAM.format((model, windows))
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - ourselves, without a shell
        [sys.executable, "-c", program],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        startup_seconds = time.perf_counter() - began
        output, errors = process.communicate()
    if process.returncode:
        sentence = (errors.strip() or f"status {process.returncode}").splitlines()[-1]
        raise SoundMonitorError(f"the measured process ended: {sentence}")
    return startup_seconds, TypeAdapter(Costs).validate_json(output)


def _save_untrained(path: Path, preset: str) -> None:
    spec = ModelSpec()
    labels = tuple(f"label {number}" for number in range(1, 11))
    network = build_network(preset, spec, len(labels))
    card = ModelCard(name=f"untrained {preset}", preset=preset, labels=labels)
    save_model(path, TrainedModel(network, spec, card))


def _noise(channels: int, samples: int) -> Samples:
    generator = np.random.default_rng(0)
    return generator.normal(0, 0.05, (channels, samples)).astype(np.float32)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
