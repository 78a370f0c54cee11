"""`sound-monitor analyze`: the events of recordings."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import (
    ComputeDeviceOption,
    ConfigOption,
    JsonOption,
    ModelOption,
    argument,
    option,
)
from monitor.errors import SoundMonitorError, UsageError
from monitor.extras import require_extra
from monitor.records import Event, Gap, Health, ScoreFrame, Timed

if TYPE_CHECKING:
    from monitor.model.models import Models

HELP = """Detect sounds in recordings.

FILE is WAV, FLAC, OGG, MP3 or another format that libsndfile reads; ffmpeg
converts others.  One that is cut off, damaged or joined from several is
analysed as far as it can be read; this is said, and the exit code is 1.

The same samples give the same events as in 'run', with the thresholds of the
configuration.  Clipping, a DC offset, and a dead or stuck channel are
reported too, with their duration; silence is not.  --json prints one event,
gap or health problem a line, in the format of the event log.

Examples:
  sound-monitor analyze street.wav
  sound-monitor analyze *.wav --json > events.jsonl
  sound-monitor analyze street.wav --plot street.png
"""


def analyze(
    files: Annotated[list[Path], argument("FILE", "One or more recordings.")],
    as_json: JsonOption = False,
    plot: Annotated[
        Path | None, option("PNG", "Draw log-mel, scores and events of one recording.")
    ] = None,
    config: ConfigOption = None,
    model: ModelOption = None,
    compute_device: ComputeDeviceOption = None,
) -> int:
    """Print the events of each recording; go on with the next if one is broken."""
    from monitor.commands.configuration import load, with_options
    from monitor.commands.process import limit_threads, log_to_stderr, print_error
    from monitor.config.audio import SourceSettings

    _check_plot(plot, files)
    configuration = load(config).fitting(model)
    settings = with_options(
        configuration.config, model=model, compute_device=compute_device
    )
    log_to_stderr(logging.WARNING)
    # What ends a recording early is printed here, without the name of a source.
    logging.getLogger("monitor.audio.capture").setLevel(logging.CRITICAL)
    limit_threads(settings.model.threads)
    from monitor.runtime.loading import choose_models, load_models
    from monitor.runtime.offline import analyze_file

    # Recordings are of no source of the configuration.
    recording = SourceSettings(name="recording", input="file:of that name")
    chosen = choose_models(
        settings.model_copy(update={"sources": (recording,)}), configuration.state_dir
    )
    models = load_models(settings.model, chosen)
    exit_code = 0
    for file in files:
        try:
            analysis = analyze_file(
                file, models, settings, source=_name(file), chosen=chosen
            )
        except SoundMonitorError as error:
            print_error(str(error))
            exit_code = max(exit_code, error.exit_code)
            continue
        if analysis.failure is not None:
            # The records before the fault are printed all the same.
            print_error(str(analysis.failure))
            exit_code = max(exit_code, analysis.failure.exit_code)
        has_gaps = _has(Gap, analysis.records)
        if not _has(ScoreFrame, analysis.records):
            window = models.spec.seconds(models.spec.window_samples)
            print_error(
                f"{_text(file)}: has no part as long as the model's window "
                f"({window:.3f} s)"
            )
            exit_code = max(exit_code, 1)
            if has_gaps:
                _print_events(file, analysis.records, as_json)
            continue
        _print_events(file, analysis.records, as_json)
        if plot is not None:
            _draw(file, analysis.records, models, plot)
    return exit_code


def _check_plot(plot: Path | None, files: Sequence[Path]) -> None:
    if plot is None:
        return
    require_extra("plot", "matplotlib", "--plot")
    if len(files) > 1:
        raise UsageError(f"--plot: shows one recording, not {len(files)}")
    try:
        is_place = plot.parent.is_dir() and not plot.is_dir()
        is_recording = files[0].exists() and plot.exists() and plot.samefile(files[0])
    except OSError as error:
        raise UsageError(f"--plot: {_text(plot)}: {error.strerror}") from None
    if not is_place:
        raise UsageError(
            f"--plot: {_text(plot)} must be a file in a folder that exists"
        )
    if is_recording:
        raise UsageError(f"--plot: {_text(plot)} is the recording; name another file")


def _name(file: Path) -> str:
    """The path, in the characters of a source's name."""
    return "file" + re.sub(r"[^A-Za-z0-9_.-]", "_", f"-{file}")[-59:]


def _text(file: Path) -> str:
    """The path on one line, whatever bytes it has."""
    from monitor.text import path_text, printable

    return printable(path_text(file))


def _has(kind: type, records: Sequence[Timed]) -> bool:
    return any(isinstance(each.record, kind) for each in records)


def _print_events(file: Path, records: Sequence[Timed], as_json: bool) -> None:
    from monitor.commands.process import print_json_line, print_line, print_table
    from monitor.sinks.encoding import encode
    from monitor.text import path_text

    shown = [timed for timed in records if _is_shown(timed)]
    if as_json:
        for timed in shown:
            # The source is named by the path, as the user wrote it.
            record = replace(timed.record, source=path_text(file))
            print_json_line(encode(replace(timed, record=record)))
        return
    if not shown:
        print_line(f"{_text(file)}: no sounds detected")
        return
    shown.sort(key=lambda timed: timed.start_seconds)
    print_line(f"{_text(file)}:")
    header = ("START", "END", "DURATION", "LABEL", "SCORE", "DBFS")
    print_table(header, [_row(timed) for timed in shown])


def _row(timed: Timed) -> tuple[str, ...]:
    from monitor.text import GAP_REASONS, level, position

    begin, end, record = timed.start_seconds, timed.end_seconds, timed.record
    place = (position(begin), position(end), f"{end - begin:.1f} s")
    if isinstance(record, Event):
        score = f"{record.peak_score:.2f}"
        return (*place, record.label, score, level(record.level_dbfs, 1))
    if isinstance(record, Gap):
        return (*place, f"(lost: {GAP_REASONS[record.reason]})", "", "")
    assert isinstance(record, Health)
    return (*place, f"({record.kind})", "", "")


def _is_shown(timed: Timed) -> bool:
    """Events, gaps, and health problems once they are over."""
    record = timed.record
    if isinstance(record, Health):
        return record.state == "cleared"
    return isinstance(record, Event | Gap)


def _draw(file: Path, records: Sequence[Timed], models: "Models", plot: Path) -> None:
    from monitor.runtime.recording_signal import read_signal
    from monitor.sinks.picture import Picture, draw

    signal = read_signal(file, models.spec)
    picture = Picture(
        title=_text(Path(file.name)),
        spec=models.spec,
        labels=models.labels,
        samples=signal.samples,
        log_mel=signal.log_mel,
        levels=signal.levels,
        level_step=signal.level_step,
        frames=[item.record for item in records if isinstance(item.record, ScoreFrame)],
        events=[item.record for item in records if isinstance(item.record, Event)],
        gaps=[item.record for item in records if isinstance(item.record, Gap)],
    )
    try:
        draw(picture, plot)
    except OSError as error:
        raise SoundMonitorError(
            f"--plot: {_text(plot)} cannot be written: {error.strerror}"
        ) from None
