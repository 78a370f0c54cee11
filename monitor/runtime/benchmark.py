"""How much processor time and memory listening takes, beside the plain way of doing it.

Measured in a process of its own, with one thread, on the CPU: so that neither what ran
before nor the other cores flatter the figures.
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
from monitor.model.networks.build import build_network
from monitor.runtime.assembly import rules_of
from monitor.runtime.pipeline import Pipeline
from monitor.spec import ModelSpec

Step = Callable[[], None]

WINDOWS = 200
PROCESSES = 3
"""The plain chain costs 4.5 or 8 ms, as the heap of its process happens to lie: it maps
and returns large buffers.  So the median process is taken."""

_STEPS_IN_ROUND = 20
_WARM_UP = 5
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PROGRAM = "from monitor.runtime.benchmark import measure_here; measure_here(*{!r})"


@dataclass(frozen=True, slots=True)
class Costs:
    """What a process measured of itself, for one live mono source."""

    hop_seconds: float
    scores_ms: float
    records_ms: float
    plain_ms: float
    rss_mib: float


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The figures of `sound-monitor benchmark`, as its JSON has them.

    All are of one live mono source at the default hop; see `typical_cpu_ms`.
    """

    real_time_factor: float
    """Processor time of the whole pipeline divided by the duration of the sound."""

    cpu_ms_per_window: float
    """From the samples of a hop to the scores of its window."""

    baseline_cpu_ms_per_window: float
    """The same for the plain chain of the article; see `plain_chain`."""

    speedup: float
    """How many times the article's way would take."""

    pipeline_cpu_ms_per_window: float
    """From samples to records: levels, windows and detection too."""

    sources_per_core: int
    """Sources whose whole pipeline one core could run."""

    rss_mib: float
    """Memory of a process that listens, with the pages of libraries it may share."""

    startup_seconds: float
    """From the start of a process to a model that is loaded, checked and ready."""


def run_benchmark(
    model: Path | None, preset: str | None = None, windows: int = WINDOWS
) -> Benchmark:
    """Measure a model in a fresh process.

    Args:
        model: Model file; None is the one that comes with the program.
        preset: Measure this network, untrained, instead of a model.
        windows: How many are timed.

    Raises:
        ModelFileError, UsageError: There is no such model or preset.
    """
    with TemporaryDirectory(prefix="sound-monitor-") as folder:
        if preset is not None:
            model = Path(folder) / "untrained.safetensors"
            _save_untrained(model, preset)
        read_card(model)  # so that a wrong file is told before a process is started
        path = None if model is None else str(model.absolute())
        runs = [_measure_in_process(path, windows) for _ in range(PROCESSES)]
        startup_seconds, costs = sorted(runs, key=_speedup)[PROCESSES // 2]
    hop_ms = 1e3 * costs.hop_seconds
    return Benchmark(
        real_time_factor=costs.records_ms / hop_ms,
        cpu_ms_per_window=costs.scores_ms,
        baseline_cpu_ms_per_window=costs.plain_ms,
        speedup=costs.plain_ms / costs.scores_ms,
        pipeline_cpu_ms_per_window=costs.records_ms,
        sources_per_core=int(hop_ms / costs.records_ms),
        rss_mib=costs.rss_mib,
        startup_seconds=startup_seconds,
    )


def _speedup(run: tuple[float, "Costs"]) -> float:
    return run[1].plain_ms / run[1].scores_ms


def records_chain(classifier: Classifier) -> tuple[float, Step]:
    """All that one hop of a live mono source costs, from its samples to records.

    Returns:
        Seconds from hop to hop, and what processes the next hop.
    """
    config = Config()
    pipeline = Pipeline(
        classifier,
        rules_of(config, classifier),
        hop_frames=config.detection.hop_frames,
        level_gate_dbfs=config.detection.level_gate_dbfs,
        level_offsets_db={"source": 0.0},
        session="benchmark",
    )
    hop = pipeline.grid.hop_samples
    samples = _noise(1, hop)
    start = 0

    def step() -> None:
        nonlocal start
        pipeline.process([("source", Block(start, samples))])
        start += hop

    while start < classifier.spec.window_samples:
        step()
    return classifier.spec.seconds(hop), step


def scores_chain(classifier: Classifier) -> Step:
    """What one hop of a live mono source costs, from its samples to scores.

    The log-mel of the new frames, and the network on the window that ends with them.
    """
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


def plain_chain() -> Step:
    """What the article does for each window.

    A stereo mel spectrogram of the whole four seconds, centred, in dB below the loudest
    bin, and the network, eager, with a batch of one.
    """
    spec = ModelSpec()
    rate = spec.sample_rate
    mel = MelSpectrogram(rate, n_fft=1024, hop_length=512, n_mels=64)
    decibels = AmplitudeToDB(top_db=80)
    network = build_network("article", spec, 10).eval()
    samples = torch.from_numpy(_noise(2, 4 * rate))

    def step() -> None:
        with torch.no_grad():
            network(decibels(mel(samples)[None]))

    return step


def measure_here(model: str | None, windows: int) -> None:
    """Measure this process and write `Costs` to stdout; what the fresh process runs."""
    try:
        classifier = Classifier(load_model(model), compute_device="cpu", threads=1)
    except SoundMonitorError as error:
        sys.exit(str(error))
    _say("ready")
    hop_seconds, records = records_chain(classifier)
    records()
    rss_mib = resident_mib()  # before the plain chain adds to it
    steps = (scores_chain(classifier), records, plain_chain())
    scores_ms, records_ms, plain_ms = typical_cpu_ms(steps, windows)
    costs = Costs(hop_seconds, scores_ms, records_ms, plain_ms, rss_mib)
    _say(TypeAdapter(Costs).dump_json(costs).decode())


def typical_cpu_ms(steps: Sequence[Step], count: int) -> list[float]:
    """Processor time of this process for one of each of `steps`, in ms.

    They take turns, so that what else runs on the machine disturbs all alike: rounds of
    a few steps of one kind.  The median of each round is taken, and then of these.
    """
    rounds = [
        [_median_cpu_ms(step) for step in steps]
        for _ in range(-(-count // _STEPS_IN_ROUND))
    ]
    return [statistics.median(medians) for medians in zip(*rounds, strict=True)]


def _median_cpu_ms(step: Step) -> float:
    taken = []
    for _ in range(_WARM_UP):
        step()
    for _ in range(_STEPS_IN_ROUND):
        before = time.process_time()
        step()
        taken.append(time.process_time() - before)
    return 1e3 * statistics.median(taken)


def resident_mib() -> float:
    """Memory that this process holds now; where that is not told, its peak."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) / 1024
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
        sentence = (errors.strip() or "without a word").splitlines()[-1]
        raise SoundMonitorError(f"the process to be measured ended: {sentence}")
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


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
