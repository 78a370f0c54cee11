"""`sound-monitor forget`: delete stored records."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.arguments import (
    ConfigOption,
    JsonOption,
    flag,
    option,
    parse_time,
)
from monitor.commands.process import print_json, print_line
from monitor.errors import SoundMonitorError, UsageError
from monitor.text import counted, local_time

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.config.config import Config
    from monitor.sinks.store.forget import Forgotten

HELP = """Delete stored records since a time, or all of them; or a taught label.

Deletes events, gaps, health problems, scores, embeddings, levels and alerts
from the database, lines from the event log, and clips.  Deleted rows are
overwritten in the database file.  Taught labels go with the events that they
were taught from, and all of them with --all.  On a terminal the command shows
what it would delete, and asks for confirmation.  A running monitor goes on,
and stores nothing of the deleted time afterwards.

Examples:
  sound-monitor forget --since 1h
  sound-monitor forget --since 2026-11-23T18:00 --yes
  sound-monitor forget --all
  sound-monitor forget --taught our_bell
"""


def forget(
    since: Annotated[
        str | None,
        option("TIME", "From this time until now: 15m, 1h, 2d or 2026-11-23T07:30."),
    ] = None,
    everything: Annotated[bool, flag("--all", "Delete everything.")] = False,
    taught: Annotated[
        str | None, option("NAME", "Delete this taught label, and nothing else.")
    ] = None,
    yes: Annotated[bool, flag("--yes", "Do not ask.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Delete, and print how much."""
    from monitor.commands.configuration import load
    from monitor.sinks.clip_files import stored_clips
    from monitor.sinks.store.forget import Forgotten, count, newest_session_start
    from monitor.sinks.store.forget import forget as delete

    if [everything, since is not None, taught is not None].count(True) != 1:
        raise UsageError("forget: give one of --since TIME, --all or --taught NAME")
    first = None if since is None else parse_time(since, datetime.now(UTC), "--since")
    configuration = load(config)
    if taught is not None:
        return _forget_taught(configuration, taught, as_json)
    database, log, clips = _places(configuration)
    labels = _taught_since(configuration.state_dir, first)
    if configuration.config.privacy == "clips":
        # For the mark of a running monitor's first clip.
        clips.mkdir(mode=0o700, exist_ok=True)
    if sys.stdin.isatty() and not yes and not as_json:
        found = Forgotten() if database is None else count(database, first)
        print_line(f"would be deleted: {_sentence(found)}")
        number = len(stored_clips(clips, first))
        print_line(f"would be deleted: {counted(number, 'clip')}")
        if labels:
            named = ", ".join(path.stem for path in labels)
            print_line(f"would be deleted: taught labels: {named}")
        typer.confirm("Delete it?", abort=True)
    deleted, damaged, session_start = Forgotten(), 0, None
    if database is not None:
        deleted = delete(database, first, datetime.now(UTC))
        session_start = newest_session_start(database)
        damaged = _delete_damaged(database) if everything else 0
    facts = asdict(deleted) | {
        "since": None if first is None else first.isoformat(),
        **_delete_files(log, clips, first, session_start),
        "damaged_files": damaged,
        "taught_labels": _unlink(labels),
    }
    if as_json:
        print_json(facts)
        return 0
    print_line(f"deleted: {_sentence(deleted)}")
    print_line(
        f"deleted from the event log: {counted(facts['event_log_lines'], 'line')}"
    )
    print_line(f"deleted: {counted(facts['clips'], 'clip')}")
    if damaged:
        print_line(f"deleted: {counted(damaged, 'file')} of damaged databases")
    for path in labels:
        print_line(f"deleted: the taught label {path.stem}")
        _warn_if_chosen(configuration.plain, path.stem)
    return 0


def _warn_if_chosen(config: "Config", label: str) -> None:
    """Warn that the configuration still names a label that is gone."""
    chosen = (config.labels, *(source.labels for source in config.sources))
    keys = ["'labels:'"] if any(label in (each or ()) for each in chosen) else []
    keys += ["'detection.labels:'"] if label in config.detection.labels else []
    if keys:
        print_line(
            f"remove {label} from {' and '.join(keys)} in the configuration, or the "
            "monitor will not start again"
        )


def _forget_taught(configuration: "Configuration", label: str, as_json: bool) -> int:
    """Delete the file of one taught label."""
    from monitor.model.taught import taught_files

    files = taught_files(configuration.state_dir)
    chosen = [path for path in files if path.stem == label]
    if not chosen:
        known = ", ".join(path.stem for path in files) or "none"
        raise UsageError(f"--taught: no label {label!r} was taught; taught: {known}")
    number = _unlink(chosen)
    if as_json:
        print_json({"taught_labels": number})
    else:
        print_line(f"deleted: {chosen[0]}")
        _warn_if_chosen(configuration.plain, label)
    return 0


def _taught_since(folder: Path, since: datetime | None) -> list[Path]:
    """Files of taught labels: all, or those taught from events that ended later."""
    from monitor.errors import ModelFileError
    from monitor.model.taught import read_taught_card, taught_files

    found = []
    for path in taught_files(folder):
        newest: float | None = None
        if since is not None:
            try:
                newest = read_taught_card(path).newest_event_seconds
            except ModelFileError:
                continue
        if since is None or (newest is not None and newest >= since.timestamp()):
            found.append(path)
    return found


def _unlink(files: list[Path]) -> int:
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SoundMonitorError(
                f"{path}: the taught label cannot be deleted: {error.strerror}"
            ) from None
    return len(files)


def _places(configuration: "Configuration") -> tuple[Path | None, Path | None, Path]:
    """Return the database, if there is one, the event log and the folder of clips.

    Raises:
        SoundMonitorError: None of them exists.
    """
    from monitor.model.taught import taught_files

    config, folder = configuration.config, configuration.state_dir
    clips = folder / config.clips.path
    database, log = (
        None if path is None else folder / path
        for path in (config.store.path, config.event_log.path)
    )
    existing = [path for path in (database, log, clips) if path and path.exists()]
    if not existing and not taught_files(folder):
        raise SoundMonitorError(f"nothing is stored in {folder}")
    return database if database in existing else None, log, clips


def _delete_files(
    log: Path | None,
    clips: Path,
    since: datetime | None,
    session_start: datetime | None,
) -> dict[str, int]:
    from monitor.clock import SystemClock
    from monitor.sinks.clip_files import forget as delete_clips
    from monitor.sinks.event_log import erase_lines

    place = f"event log {log}"
    try:
        lines = 0 if log is None else erase_lines(log, since, session_start)
        place = f"clips in {clips}"
        number = delete_clips(clips, since, SystemClock().monotonic())
    except OSError as error:
        raise SoundMonitorError(
            f"the database is clean, but not the {place}: {error.strerror}"
        ) from None
    return {"event_log_lines": lines, "clips": number}


def _sentence(deleted: "Forgotten") -> str:
    if deleted.since is None:
        return "nothing"
    health = [counted(deleted.health, "health problem")] if deleted.health else []
    embeddings = (
        [counted(deleted.embeddings, "embedding")] if deleted.embeddings else []
    )
    hours = [f"levels of {counted(deleted.level_hours, 'hour')}"]
    parts = (
        counted(deleted.events, "event"),
        counted(deleted.gaps, "gap"),
        *health,
        counted(deleted.score_frames, "score frame"),
        *embeddings,
        *(hours if deleted.level_hours else []),
        counted(deleted.alerts, "alert"),
    )
    return f"{', '.join(parts)}, from {local_time(deleted.since)}"


def _delete_damaged(path: Path) -> int:
    damaged = list(path.parent.glob(f"{path.name}.damaged-*"))
    for file in damaged:
        file.unlink()
    return len(damaged)
