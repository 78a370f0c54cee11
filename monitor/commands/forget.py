"""`sound-monitor forget`: delete what was heard."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from monitor.commands.arguments import ConfigOption, JsonOption
from monitor.errors import SoundMonitorError, UsageError

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.sinks.store.forget import Forgotten

HELP = """Delete what was heard since a moment, or everything.

Events, gaps, health, scores and alerts go from the database, lines from the event log,
clips from their folder.  What is deleted from the database is overwritten in its file.
On a terminal it is shown first and asked for.  A monitor that is running goes on, and
what it still has in memory of it is not stored.

\b
Examples:
  sound-monitor forget --since 1h
  sound-monitor forget --since 2026-11-23T18:00 --yes
  sound-monitor forget --all
"""


def forget(
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            show_default=False,
            help="From this moment until now: 15m, 1h, 2d or 2026-11-23T07:30.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Delete, and say what."""
    from monitor.commands.arguments import parse_moment
    from monitor.commands.configuration import load
    from monitor.commands.output import print_json, print_line
    from monitor.sinks.store.forget import Forgotten, count
    from monitor.sinks.store.forget import forget as delete

    now = datetime.now(UTC)
    if everything == (since is not None):
        raise UsageError("forget: say --since TIME or --all")
    first = None if since is None else parse_moment(since, now, "--since")
    places = _Places.of(load(config))
    if sys.stdin.isatty() and not yes and not as_json:
        found = Forgotten()
        if places.database is not None:
            found = count(places.database, first)
        print_line(f"would be deleted: {_sentence(found)}")
        print_line(f"would be deleted: {_count_clips(places.clips, first)} clips")
        typer.confirm("Delete it?", abort=True)
    forgotten = Forgotten()
    aside = 0
    if places.database is not None:
        forgotten = delete(places.database, first, datetime.now(UTC))
        aside = _remove_damaged(places.database) if everything else 0
    lines = 0 if places.log is None else _erase_log(places.log, first)
    clips = _forget_clips(places.clips, first)
    if as_json:
        print_json(
            {
                "since": None if first is None else first.isoformat(),
                "events": forgotten.events,
                "gaps": forgotten.gaps,
                "health": forgotten.health,
                "score_frames": forgotten.score_frames,
                "alerts": forgotten.alerts,
                "event_log_lines": lines,
                "clips": clips,
                "damaged_files": aside,
            }
        )
        return 0
    print_line(f"deleted: {_sentence(forgotten)}")
    print_line(f"deleted from the event log: {lines} lines")
    print_line(f"deleted: {clips} clips")
    if aside:
        print_line(f"deleted: {aside} files of damaged databases")
    return 0


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a monitor keeps what it heard."""

    database: Path | None
    log: Path | None
    clips: Path

    @classmethod
    def of(cls, configuration: "Configuration") -> Self:
        """The places that the configuration names and, for the database, has filled.

        Raises:
            SoundMonitorError: Nothing was ever kept there.
        """
        config, folder = configuration.config, configuration.state_dir
        database = None if config.store.path is None else folder / config.store.path
        if database is not None and not database.exists():
            database = None
        log = None if config.event_log.path is None else folder / config.event_log.path
        clips = folder / config.clips.path
        if (
            database is None
            and not clips.exists()
            and (log is None or not log.exists())
        ):
            raise SoundMonitorError(f"nothing was ever kept in {folder}")
        return cls(database, log, clips)


def _sentence(forgotten: "Forgotten") -> str:
    from monitor.text import local_time

    if forgotten.since is None:
        return "nothing"
    troubles = f"{forgotten.health} troubles, " if forgotten.health else ""
    return (
        f"{forgotten.events} events, {forgotten.gaps} gaps, {troubles}"
        f"{forgotten.score_frames} score frames, {forgotten.alerts} alerts, "
        f"from {local_time(forgotten.since)}"
    )


def _erase_log(path: Path, since: datetime | None) -> int:
    from monitor.sinks.event_log import erase_lines

    try:
        return erase_lines(path, since)
    except OSError as error:
        raise SoundMonitorError(
            f"the database is cleaned, but not the event log {path}: {error.strerror}"
        ) from None


def _count_clips(folder: Path, since: datetime | None) -> int:
    from monitor.sinks.clip_files import stored_clips

    return len(stored_clips(folder, since))


def _forget_clips(folder: Path, since: datetime | None) -> int:
    from monitor.sinks.clip_files import forget as delete

    try:
        return delete(folder, since, datetime.now(UTC))
    except OSError as error:
        raise SoundMonitorError(
            f"the database is cleaned, but not the clips in {folder}: {error.strerror}"
        ) from None


def _remove_damaged(path: Path) -> int:
    damaged = list(path.parent.glob(f"{path.name}.damaged-*"))
    for file in damaged:
        file.unlink()
    return len(damaged)
