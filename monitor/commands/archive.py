"""`sound-monitor archive`: the records of many recordings, as Parquet."""

import logging
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from monitor.commands.arguments import (
    ComputeDeviceOption,
    ConfigOption,
    JsonOption,
    ModelOption,
    argument,
    flag,
    option,
)
from monitor.errors import UsageError
from monitor.extras import require_extra

if TYPE_CHECKING:
    from monitor.fleet.archive.analysis import ArchiveSettings
    from monitor.fleet.archive.engines.engine import Engine
    from monitor.fleet.archive.run import Totals

logger = logging.getLogger(__name__)

EngineName = Literal["processes", "ray"]

HELP = """Analyse archives of recordings into a folder of Parquet files.

IN is a folder, a recording, a pattern such as 'cards/**/*.WAV', or a URL that
fsspec reads, such as s3://bucket/folder.  DIR gets events, levels and scores
of each recording, and a manifest; 'events --archive DIR' and
'report --archive DIR' read them, as does any program that knows Parquet.

The same command again goes on where it was stopped: recordings that are in
the manifest, unchanged and with the same model and settings, are left out.
One that fails costs no other; it is named, and the exit code is 1.

The time of a recording is that of NAME.json beside it, of its header
(AudioMoth, GUANO, broadcast WAV) or of its name (20240501_050000, ISO 8601).

Examples:
  sound-monitor archive cards/ --out results/
  sound-monitor archive cards/ --out results/ --time-zone Europe/Vienna
  sound-monitor archive s3://bucket/2024 --out /shared/results --engine ray \\
      --address auto
  sound-monitor archive cards/ --out results/ --shard $SLURM_ARRAY_TASK_ID/40
  sound-monitor report 2024-05-01 --archive results/
"""


def archive(
    inputs: Annotated[list[str], argument("IN", "Folders, patterns, files, URLs.")],
    out: Annotated[Path, option("DIR", "Folder for the results; made if need be.")],
    engine: Annotated[EngineName, option(None, "What runs the workers.")] = "processes",
    workers: Annotated[
        int | None,
        option("N", "Number of workers; one for each core or GPU by default.", min=1),
    ] = None,
    address: Annotated[
        str | None,
        option("HOST:PORT", "Cluster of --engine ray, or auto; none: this machine."),
    ] = None,
    shard: Annotated[
        str | None,
        option("I/N", "Analyse only this one of N parts, as for jobs of Slurm."),
    ] = None,
    time_pattern: Annotated[
        str | None,
        option(
            "FORMAT", "Times are in names of this form of strptime: rec-%Y%m%d-%H%M%S."
        ),
    ] = None,
    time_zone: Annotated[
        str, option("ZONE", "Time zone of times that state none.")
    ] = "UTC",
    source: Annotated[
        str | None,
        option("NAME", "Source in all records.", show_default="the recorder's name"),
    ] = None,
    site: Annotated[str | None, option("TEXT", "Site in all records.")] = None,
    no_scores: Annotated[
        bool, flag("--no-scores", "Leave out the scores, the largest part.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    model: ModelOption = None,
    compute_device: ComputeDeviceOption = None,
) -> int:
    """Analyse all recordings, and print what became of them."""
    _check_options(engine, address, source)
    part = _shard(shard)
    from monitor.commands.configuration import load, with_options
    from monitor.commands.process import limit_threads, log_to_stderr, print_json

    configuration = load(config).fitting(model)
    settings = with_options(
        configuration.config, model=model, compute_device=compute_device
    )
    log_to_stderr(logging.INFO)
    limit_threads(settings.model.threads)
    from monitor.fleet.archive.analysis import ArchiveSettings
    from monitor.fleet.archive.recording_time import TimeRules

    times = TimeRules(time_pattern, time_zone)
    times.check()
    common = ArchiveSettings(
        settings,
        configuration.state_dir,
        out.resolve(),
        times,
        source,
        site,
        keeps_scores=not no_scores,
    )
    digest = common.chosen().digest()
    runner = _engine(engine, common, digest, workers, address)
    totals = _run(common, digest, inputs, part, runner)
    if as_json:
        print_json(asdict(totals))
    else:
        _print_totals(totals, out)
    return 1 if totals.failed or totals.damaged else 0


def _check_options(engine: EngineName, address: str | None, source: str | None) -> None:
    for library in ("pyarrow", "duckdb", "fsspec"):
        require_extra("archive", library, "archive")
    if engine == "ray":
        require_extra("ray", "ray", "--engine ray")
    elif address is not None:
        raise UsageError("--address: is of --engine ray")
    if source is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,62}", source):
        raise UsageError(
            f"--source: {source!r} must begin with a letter or digit and have at most "
            "63 letters, digits and _ . -"
        )


def _run(
    common: "ArchiveSettings",
    digest: str,
    inputs: list[str],
    part: tuple[int, int] | None,
    engine: "Engine",
) -> "Totals":
    """Analyse the inputs, or a part of them; `digest` is that of the model."""
    from monitor.fleet.archive.analysis import task_of
    from monitor.fleet.archive.inputs import find_inputs
    from monitor.fleet.archive.joined import join_archive
    from monitor.fleet.archive.manifest import Manifest
    from monitor.fleet.archive.progress import Display
    from monitor.fleet.archive.run import run_archive

    found = find_inputs(inputs)
    common.times.warn_if_unused([each.name for each in found])
    tasks = [
        task_of(each, digest, common.digest)
        for each in found
        if part is None or each.is_of_shard(*part)
    ]
    with Manifest(common.out, part) as manifest, Display() as display:
        try:
            totals = run_archive(tasks, manifest, engine, display)
        except KeyboardInterrupt:
            logger.warning("stopped: the same command again goes on from here")
            raise
        if part is None:  # shards end at about the same time
            join_archive(common.out)
    return totals


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(
            f"--shard: {text!r} must be I/N, the part and the number of parts, with "
            "parts from 1 to N: 3/40"
        )
    return int(found[1]), int(found[2])


def _engine(
    name: EngineName,
    common: "ArchiveSettings",
    digest: str,
    workers: int | None,
    address: str | None,
) -> "Engine":
    if name == "ray":
        from monitor.fleet.archive.engines.ray_actors import RayActors

        return RayActors(common, digest, workers, address)
    from monitor.fleet.archive.engines.processes import Processes

    if workers is None:
        is_on_gpu = common.config.model.compute_device == "cuda"
        cores = len(os.sched_getaffinity(0)) // common.config.model.threads
        workers = 1 if is_on_gpu else max(1, cores)
    return Processes(common, digest, workers)


def _print_totals(totals: "Totals", out: Path) -> None:
    from monitor.commands.process import print_line
    from monitor.text import counted, duration, path_text

    counts = {
        "damaged": totals.damaged,
        "failed": totals.failed,
        "of them analysed before": totals.skipped,
    }
    figures = [f"{totals.done} done"]
    figures += [f"{count} {name}" for name, count in counts.items() if count]
    print_line(f"{counted(totals.recordings, 'recording')}: {', '.join(figures)}")
    sound = f"{duration(totals.seconds)} of sound, {counted(totals.events, 'event')}"
    print_line(f"{sound}, in {path_text(out)}")
    if totals.without_time:
        print_line(
            f"{totals.without_time} without a time of day: see --time-pattern; 'report'"
            " leaves them out"
        )
    if totals.analyzed_seconds and totals.wall_seconds:
        speed = totals.analyzed_seconds / totals.wall_seconds
        wall = duration(totals.wall_seconds)
        print_line(f"{wall}, {speed:.0f} times as fast as real time")
