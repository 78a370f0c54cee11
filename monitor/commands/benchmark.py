"""`sound-monitor benchmark`: the cost of live analysis on this machine."""

from typing import Annotated

from monitor.commands.arguments import JsonOption, ModelOption, option
from monitor.errors import UsageError

HELP = """Measure the processor time and memory of live analysis on this machine.

Compares the analysis of a live mono source, on one CPU thread, with the
method of the article that this project began with: the stereo mel spectrogram
of each whole window, and the article's network with a batch of one.  The
real-time factor and the number of sources per core are those of the whole
analysis, from samples to records.  Close other programs first.

Examples:
  sound-monitor benchmark
  sound-monitor benchmark --preset article --json
"""


def benchmark(
    model: ModelOption = None,
    preset: Annotated[
        str | None,
        option(
            "article|mobile",
            "Measure an untrained network of this preset instead of a model.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure and print."""
    from dataclasses import asdict

    from monitor.commands.process import limit_threads, print_json, print_line

    if model is not None and preset is not None:
        raise UsageError("--model and --preset: give only one of them")
    limit_threads(1)
    from monitor.runtime.benchmark import run_benchmark

    figures = run_benchmark(model, preset)
    if as_json:
        print_json(asdict(figures))
        return 0
    per_window = "ms per window"
    article = figures.baseline_cpu_ms_per_window
    for name, value in {
        "samples to scores": f"{figures.cpu_ms_per_window:.2f} {per_window}",
        "the article's method": f"{article:.2f} {per_window}",
        "speedup": f"{figures.speedup:.1f}",
        "samples to records": f"{figures.pipeline_cpu_ms_per_window:.2f} {per_window}",
        "real-time factor": f"{figures.real_time_factor:.5f}",
        "sources per core": f"{figures.sources_per_core}",
        "memory": f"{figures.rss_mib:.0f} MiB",
        "start-up": f"{figures.startup_seconds:.2f} s",
    }.items():
        print_line(f"{name:<22}{value}")
    return 0
