"""Processor time and memory of live analysis, compared with the article's method.

Each contender runs in a fresh process with one thread, so that neither earlier work nor
other cores affect the figures; they take turns in rounds, so that other load on the
machine affects them equally.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monitor.errors import SoundMonitorError
from monitor.extras import require_extra
from monitor.model.card import INCLUDED, ModelCard, read_card
from monitor.runtime.contenders import (
    ARTICLE,
    FOREIGN,
    RECORDS,
    SCORES,
    TOGETHER,
    check_foreign,
)
from monitor.spec import ModelSpec

WINDOWS = 200
PROCESSES = 3
"""Fresh processes of each contender: the time of a step depends on the layout of the
heap, by a factor of nearly two for the article's method."""

_STEPS_IN_ROUND = 20
_WARM_UP = 5
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Contender:
    """The measured costs of one way from samples to scores or records."""

    name: str
    cpu_ms_per_window: float
    """Processor time of a step; the median."""

    cpu_ms_per_second: float
    """Processor time per second of sound; the median."""

    cpu_ms_per_second_min: float
    rss_mib: float
    """Memory of the process, including the pages of shared libraries."""

    start_seconds: float
    """From the start of the process to its first scores."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The figures of `sound-monitor benchmark`, as in its JSON.

    All are of one live mono source at the default hop.
    """

    real_time_factor: float
    """Processor time of the whole pipeline divided by the duration of the sound."""

    cpu_ms_per_window: float
    """Time from the samples of a hop to the scores of its window."""

    baseline_cpu_ms_per_window: float | None
    """The same by the article's method; None: torch is not installed."""

    speedup: float | None
    """Ratio of these two."""

    pipeline_cpu_ms_per_window: float
    """Time from samples to records, with levels, windows and detection."""

    sources_per_core: int
    """Number of sources that one core can analyse."""

    rss_mib: float
    """Memory of a process that listens."""

    startup_seconds: float
    """Time from the start of a process to its first scores."""

    contenders: tuple[Contender, ...]
    """Costs of each way; `article` and `article network` only where torch is."""


def run_benchmark(
    model: Path | None,
    preset: str | None = None,
    against: Path | None = None,
    windows: int = WINDOWS,
) -> Benchmark:
    """Measure a model in fresh processes; with a `preset`, that network, untrained.

    Raises:
        ModelFileError, UsageError: There is no such model, preset or file.
    """
    if against is not None:
        check_foreign(against)
    has_torch = find_spec("torchaudio") is not None
    with TemporaryDirectory(prefix="sound-monitor-") as folder:
        if preset is not None:
            model = _untrained(Path(folder), preset)
        read_card(model)  # rejects a wrong file before a process is started
        is_included = model is None or str(model) in INCLUDED
        own = str(model or "") if is_included else str(model and model.absolute())
        wanted = [("scores", SCORES, own), ("records", RECORDS, own)]
        if model is None:
            further = (*INCLUDED[1:], TOGETHER)
            wanted += [(name, RECORDS, name) for name in further]
        if has_torch:
            article = str(_untrained(Path(folder), "article"))
            wanted += [("article", ARTICLE, ""), ("article network", RECORDS, article)]
        if against is not None:
            wanted.append((against.name, FOREIGN, str(against)))
        measured = _measure(wanted, windows)
    by_name = {contender.name: contender for contender in measured}
    scores, records = by_name["scores"], by_name["records"]
    baseline = by_name["article"].cpu_ms_per_window if has_torch else None
    return Benchmark(
        real_time_factor=records.cpu_ms_per_second / 1e3,
        cpu_ms_per_window=scores.cpu_ms_per_window,
        baseline_cpu_ms_per_window=baseline,
        speedup=baseline and baseline / scores.cpu_ms_per_window,
        pipeline_cpu_ms_per_window=records.cpu_ms_per_window,
        sources_per_core=int(1e3 / records.cpu_ms_per_second),
        rss_mib=records.rss_mib,
        startup_seconds=scores.start_seconds,
        contenders=tuple(measured),
    )


class _Process:
    """A contender in a process of its own."""

    def __init__(self, kind: str, file: str, stack: ExitStack) -> None:
        package_folder = str(Path(__file__).parents[2])
        search_path = [package_folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, "1")
        environment["PYTHONPATH"] = os.pathsep.join(search_path)
        began = time.perf_counter()
        self._process = stack.enter_context(
            subprocess.Popen(  # noqa: S603 - ourselves, without a shell
                [sys.executable, "-m", "monitor.runtime.contenders", kind, file],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(self._process.kill)
        self.start: dict[str, float] = self._read()
        self.start_seconds = time.perf_counter() - began
        self.run(_WARM_UP)

    def run(self, steps: int) -> list[float]:
        """Run some steps; return the processor time of each in ms."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        taken: list[float] = self._read()
        return taken

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        _, errors = self._process.communicate()
        code = self._process.returncode
        sentence = (errors.strip() or f"status {code}").splitlines()[-1]
        raise SoundMonitorError(f"the measured process ended: {sentence}")


def _measure(wanted: Sequence[tuple[str, str, str]], windows: int) -> list[Contender]:
    """Measure (name, kind, file), interleaved."""
    medians: dict[str, list[float]] = {name: [] for name, _, _ in wanted}
    found: dict[str, list[_Process]] = {name: [] for name, _, _ in wanted}
    rounds = -(-windows // _STEPS_IN_ROUND // PROCESSES)
    for _ in range(PROCESSES):
        with ExitStack() as stack:
            for name, kind, file in wanted:
                found[name].append(_Process(kind, file, stack))
            for _ in range(rounds):
                for name, _, _ in wanted:
                    taken = found[name][-1].run(_STEPS_IN_ROUND)
                    medians[name].append(statistics.median(taken))
    return [_contender(name, medians[name], found[name]) for name, _, _ in wanted]


def _contender(
    name: str, medians: Sequence[float], processes: Sequence[_Process]
) -> Contender:
    seconds = processes[0].start["seconds"]
    typical = statistics.median(medians)
    return Contender(
        name,
        cpu_ms_per_window=typical,
        cpu_ms_per_second=typical / seconds,
        cpu_ms_per_second_min=min(medians) / seconds,
        rss_mib=statistics.median(each.start["rss_mib"] for each in processes),
        start_seconds=min(each.start_seconds for each in processes),
    )


def _untrained(folder: Path, preset: str) -> Path:
    require_extra("train", "torch", "--preset")
    from monitor.model.networks import build_network
    from monitor.model.trained import TrainedModel, save_model

    spec = ModelSpec()
    labels = tuple(f"label {number}" for number in range(1, 11))
    network = build_network(preset, spec, len(labels))
    card = ModelCard(name=f"untrained {preset}", preset=preset, labels=labels)
    path = folder / f"untrained-{preset}.safetensors"
    save_model(path, TrainedModel(network, spec, card))
    return path
