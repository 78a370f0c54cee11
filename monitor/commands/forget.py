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
    from monitor.sinks.store.forget import Forgotten

HELP = """Delete stored records since a time, or all of them.

Deletes events, gaps, health problems, scores, embeddings and alerts from
the database, lines from the event log, and clips.  Deleted rows are
overwritten in the database file.  On a terminal the command shows what it
would delete, and asks for confirmation.  A running monitor goes on, and
stores nothing of the deleted time afterwards.

Examples:
  sound-monitor forget --since 1h
  sound-monitor forget --since 2026-11-23T18:00 --yes
  sound-monitor forget --all
"""


def forget(
    since: Annotated[
        str | None,
        option("TIME", "From this time until now: 15m, 1h, 2d or 2026-11-23T07:30."),
    ] = None,
    everything: Annotated[bool, flag("--all", "Delete everything.")] = False,
    yes: Annotated[bool, flag("--yes", "Do not ask.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Delete, and print how much."""
    from monitor.commands.configuration import load
    from monitor.sinks.clip_files import stored_clips
    from monitor.sinks.store.forget import Forgotten, count, newest_session_start
    from monitor.sinks.store.forget import forget as delete

    if everything == (since is not None):
        raise UsageError("forget: give --since TIME or --all")
    first = None if since is None else parse_time(since, datetime.now(UTC), "--since")
    configuration = load(config)
    database, log, clips = _places(configuration)
    if configuration.config.privacy == "clips":
        # For the mark of a running monitor's first clip.
        clips.mkdir(mode=0o700, exist_ok=True)
    if sys.stdin.isatty() and not yes and not as_json:
        found = Forgotten() if database is None else count(database, first)
        print_line(f"would be deleted: {_sentence(found)}")
        number = len(stored_clips(clips, first))
        print_line(f"would be deleted: {counted(number, 'clip')}")
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
    return 0


def _places(configuration: "Configuration") -> tuple[Path | None, Path | None, Path]:
    """Return the database, if there is one, the event log and the folder of clips.

    Raises:
        SoundMonitorError: None of them exists.
    """
    config, folder = configuration.config, configuration.state_dir
    clips = folder / config.clips.path
    database, log = (
        None if path is None else folder / path
        for path in (config.store.path, config.event_log.path)
    )
    existing = [path for path in (database, log, clips) if path and path.exists()]
    if not existing:
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
    parts = (
        counted(deleted.events, "event"),
        counted(deleted.gaps, "gap"),
        *health,
        counted(deleted.score_frames, "score frame"),
        *embeddings,
        counted(deleted.alerts, "alert"),
    )
    return f"{', '.join(parts)}, from {local_time(deleted.since)}"


def _delete_damaged(path: Path) -> int:
    damaged = list(path.parent.glob(f"{path.name}.damaged-*"))
    for file in damaged:
        file.unlink()
    return len(damaged)
