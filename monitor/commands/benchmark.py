"""`sound-monitor benchmark`: the cost of live analysis on this machine."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import JsonOption, ModelOption, option
from monitor.errors import SoundMonitorError, UsageError
from monitor.extras import missing_extra, require_extra

if TYPE_CHECKING:
    from monitor.runtime.benchmark import Benchmark

HELP = """Measure the processor time and memory of live analysis on this machine.

Compares the analysis of a live mono source, on one CPU thread, with the
method of the article that this project began with: the stereo mel spectrogram
of each whole window, and the article's network with a batch of one.  That
needs the extra train; without it, it is left out.  Without --model, the
included models are measured alone and together.  --against adds any model
in ONNX or TFLite form, whose windows overlap by half.  Close other programs
first.

Examples:
  sound-monitor benchmark
  sound-monitor benchmark --preset article --json
  sound-monitor benchmark --against yamnet.tflite --plot costs.png
"""

_NAMES = {
    "scores": "samples to scores",
    "records": "samples to records",
    "world": "samples to records, world",
    "urban+world": "samples to records, urban and world",
    "article": "the article's own code",
    "article network": "the article's network, samples to records",
}


def benchmark(
    model: ModelOption = None,
    preset: Annotated[
        str | None,
        option(
            "article|mobile",
            "Measure an untrained network of this preset instead of a model.",
        ),
    ] = None,
    against: Annotated[
        Path | None, option("FILE", "Measure this ONNX or TFLite model too.")
    ] = None,
    plot: Annotated[Path | None, option("PNG", "Draw the costs.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure and print."""
    from dataclasses import asdict

    from monitor.commands.process import limit_threads, print_json

    if model is not None and preset is not None:
        raise UsageError("--model and --preset: give only one of them")
    if plot is not None:
        require_extra("plot", "matplotlib", "--plot")
        if not plot.parent.is_dir() or plot.is_dir():
            raise UsageError(f"--plot: {plot} must be a file in a folder that exists")
    limit_threads(1)
    from monitor.runtime.benchmark import run_benchmark

    figures = run_benchmark(model, preset, against)
    if as_json:
        print_json(asdict(figures))
    else:
        _print(figures)
    if plot is not None:
        _draw(figures, plot)
    return 0


def _print(figures: "Benchmark") -> None:
    from monitor.commands.process import print_line, print_table

    header = (
        *("", "MS A WINDOW", "MS A SECOND", "LEAST", "MEMORY", "FIRST SCORES"),
        *(("CHEAPER BY",) if figures.speedup else ()),
    )
    least = {each.name: each.cpu_ms_per_second_min for each in figures.contenders}
    rows = [
        (
            _NAMES.get(each.name, each.name),
            f"{each.cpu_ms_per_window:.2f}",
            f"{each.cpu_ms_per_second:.2f}",
            f"{each.cpu_ms_per_second_min:.2f}",
            f"{each.rss_mib:.0f} MiB",
            f"{each.start_seconds:.2f} s",
            *(
                (f"{least['article'] / each.cpu_ms_per_second_min:.1f} times",)
                if figures.speedup
                else ()
            ),
        )
        for each in figures.contenders
    ]
    print_table(header, rows)
    print_line()
    if lack := missing_extra("train", "torchaudio"):
        print_line(f"the article's code is not measured: it {lack}")
    print_line(
        f"real-time factor {figures.real_time_factor:.5f}: one core can analyse "
        f"{figures.sources_per_core} sources"
    )


_NAME_LETTERS = 40
"""Letters in a line of a name in the picture."""


def _draw(figures: "Benchmark", path: Path) -> None:
    from matplotlib.figure import Figure

    shown = figures.contenders[::-1]
    names = [
        textwrap.fill(_NAMES.get(each.name, each.name), _NAME_LETTERS) for each in shown
    ]
    lines = max(name.count("\n") + 1 for name in names)
    own = ("scores", "records", "world", "urban+world", "article network")
    colors = ["C0" if each.name in own else "0.7" for each in shown]
    size = (11, 1.4 + max(0.4, 0.2 * lines) * len(shown))
    figure = Figure(figsize=size, layout="constrained")
    title = "Live analysis of one source on one thread (blue: this program)"
    figure.suptitle(f"{title}; less is better", fontsize=11)
    panels = (
        ("CPU time,\nms a second of sound", "{:.1f}", "cpu_ms_per_second"),
        ("memory,\nMiB", "{:.0f}", "rss_mib"),
        ("from start to\nfirst scores, s", "{:.1f}", "start_seconds"),
    )
    for axes, (title, form, field) in zip(
        figure.subplots(1, len(panels), sharey=True), panels, strict=True
    ):
        values = [getattr(it, field) for it in shown]
        bars = axes.barh(range(len(names)), values, color=colors)
        axes.bar_label(bars, fmt=form, padding=3)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.set_title(title, loc="left", fontsize=10)
        axes.margins(x=0.2)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelbottom=False)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise SoundMonitorError(
            f"--plot: {path} cannot be written: {error.strerror}"
        ) from None
