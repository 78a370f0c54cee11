"""`sound-monitor benchmark`: the cost of live analysis on this machine."""

from typing import Annotated

import typer

from monitor.commands.arguments import JsonOption, ModelOption
from monitor.errors import UsageError

HELP = """Measure the processor time and memory of live analysis on this machine.

Compares the analysis of a live mono source, on one CPU thread, with the method of the
article that this project began with: the stereo mel spectrogram of each whole window,
and its network with a batch of one.  The real-time factor and the sources per core
count the whole analysis, up to the records.  Close other programs first.

\b
Examples:
  sound-monitor benchmark
  sound-monitor benchmark --preset article --json
"""


def benchmark(
    model: ModelOption = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Measure an untrained network, article or mobile, instead of a model.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure and print."""
    from dataclasses import asdict

    from monitor.commands.output import print_json, print_line
    from monitor.commands.process import limit_threads

    if model is not None and preset is not None:
        raise UsageError("--model and --preset: give only one of them")
    limit_threads(1)
    from monitor.runtime.benchmark import run_benchmark

    figures = run_benchmark(model, preset)
    if as_json:
        print_json(asdict(figures))
        return 0
    rows = (
        ("samples to scores", f"{figures.cpu_ms_per_window:.2f} ms per window"),
        (
            "the article's method",
            f"{figures.baseline_cpu_ms_per_window:.2f} ms per window",
        ),
        ("speedup", f"{figures.speedup:.1f}"),
        (
            "samples to records",
            f"{figures.pipeline_cpu_ms_per_window:.2f} ms per window",
        ),
        ("real-time factor", f"{figures.real_time_factor:.5f}"),
        ("sources per core", f"{figures.sources_per_core}"),
        ("memory", f"{figures.rss_mib:.0f} MiB"),
        ("start-up", f"{figures.startup_seconds:.2f} s"),
    )
    for name, value in rows:
        print_line(f"{name:<22}{value}")
    return 0
