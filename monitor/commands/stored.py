"""Where the commands that ask the database find it, and the stretch they ask for."""

from datetime import UTC, datetime
from pathlib import Path

from monitor.commands.configuration import Configuration
from monitor.commands.moments import parse_moment
from monitor.errors import UsageError


def database_path(configuration: Configuration) -> Path:
    """The file that `run` writes with this configuration.

    Raises:
        UsageError: The configuration has none.
    """
    path = configuration.config.store.path
    if path is None:
        raise UsageError("store.path is null: there is no database to ask")
    return configuration.state_dir / path


def stretch_of_time(
    since: str | None, until: str | None
) -> tuple[datetime | None, datetime | None]:
    """What --since and --until mean now, UTC.

    Raises:
        UsageError: One is no moment, or the end does not lie after the beginning.
    """
    now = datetime.now(UTC)
    first = None if since is None else parse_moment(since, now, "--since")
    last = None if until is None else parse_moment(until, now, "--until")
    if first is not None and last is not None and last <= first:
        raise UsageError(f"--until: {until!r} does not lie after --since {since!r}")
    return first, last
