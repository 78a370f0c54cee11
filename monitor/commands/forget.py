"""`sound-monitor forget`: delete stored records."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from monitor.commands.arguments import ConfigOption, JsonOption, parse_time
from monitor.commands.output import print_json, print_line
from monitor.errors import SoundMonitorError, UsageError
from monitor.text import local_time

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.sinks.store.forget import Forgotten

HELP = """Delete stored records since a time, or all of them.

Deletes events, gaps, health, scores and alerts from the database, lines from the event
log, and clips.  Deleted rows are overwritten in the database file.  On a terminal the
command shows what it would delete and asks first.  A running monitor goes on, and does
not store its memory of the deleted time.

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
            help="From this time until now: 15m, 1h, 2d or 2026-11-23T07:30.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Delete everything.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Delete, and print how much."""
    from monitor.commands.configuration import load
    from monitor.sinks.clip_files import stored_clips
    from monitor.sinks.store.forget import Forgotten, count
    from monitor.sinks.store.forget import forget as delete

    now = datetime.now(UTC)
    if everything == (since is not None):
        raise UsageError("forget: give --since TIME or --all")
    first = None if since is None else parse_time(since, now, "--since")
    places = _Places.of(load(config))
    if sys.stdin.isatty() and not yes and not as_json:
        found = Forgotten()
        if places.database is not None:
            found = count(places.database, first)
        print_line(f"would be deleted: {_sentence(found)}")
        print_line(f"would be deleted: {len(stored_clips(places.clips, first))} clips")
        typer.confirm("Delete it?", abort=True)
    deleted = Forgotten()
    damaged = 0
    if places.database is not None:
        deleted = delete(places.database, first, datetime.now(UTC))
        damaged = _delete_damaged(places.database) if everything else 0
    lines, clips = places.delete_files(first)
    if as_json:
        print_json(
            {
                "since": None if first is None else first.isoformat(),
                "events": deleted.events,
                "gaps": deleted.gaps,
                "health": deleted.health,
                "score_frames": deleted.score_frames,
                "alerts": deleted.alerts,
                "event_log_lines": lines,
                "clips": clips,
                "damaged_files": damaged,
            }
        )
        return 0
    print_line(f"deleted: {_sentence(deleted)}")
    print_line(f"deleted from the event log: {lines} lines")
    print_line(f"deleted: {clips} clips")
    if damaged:
        print_line(f"deleted: {damaged} files of damaged databases")
    return 0


@dataclass(frozen=True, slots=True)
class _Places:
    """The files in which a monitor stores records."""

    database: Path | None
    """None: the configuration names none, or it is not there."""

    log: Path | None
    clips: Path

    @classmethod
    def of(cls, configuration: "Configuration") -> Self:
        """Return the places that the configuration names.

        Raises:
            SoundMonitorError: None of them exists.
        """
        config, folder = configuration.config, configuration.state_dir
        database, log = (
            None if path is None else folder / path
            for path in (config.store.path, config.event_log.path)
        )
        if database is not None and not database.exists():
            database = None
        clips = folder / config.clips.path
        has_log = log is not None and log.exists()
        if database is None and not clips.exists() and not has_log:
            raise SoundMonitorError(f"nothing is stored in {folder}")
        return cls(database, log, clips)

    def delete_files(self, since: datetime | None) -> tuple[int, int]:
        """Delete lines of the event log, and clips; return how many of each."""
        from monitor.sinks.clip_files import forget as delete_clips
        from monitor.sinks.event_log import erase_lines

        place = f"event log {self.log}"
        try:
            lines = 0 if self.log is None else erase_lines(self.log, since)
            place = f"clips in {self.clips}"
            clips = delete_clips(self.clips, since, datetime.now(UTC))
        except OSError as error:
            raise SoundMonitorError(
                f"the database is clean, but not the {place}: {error.strerror}"
            ) from None
        return lines, clips


def _sentence(deleted: "Forgotten") -> str:
    if deleted.since is None:
        return "nothing"
    health = f"{deleted.health} health problems, " if deleted.health else ""
    return (
        f"{deleted.events} events, {deleted.gaps} gaps, {health}"
        f"{deleted.score_frames} score frames, {deleted.alerts} alerts, "
        f"from {local_time(deleted.since)}"
    )


def _delete_damaged(path: Path) -> int:
    damaged = list(path.parent.glob(f"{path.name}.damaged-*"))
    for file in damaged:
        file.unlink()
    return len(damaged)
