"""The context of the web page: where the monitor's files and sockets are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monitor.config.config import Config


@dataclass(frozen=True, slots=True)
class WebContext:
    """Everything that a page may know of the monitor."""

    config: Config
    """The configuration at the start of the web process."""

    state_dir: Path
    """Absolute folder of the monitor's files."""

    database: Path | None
    """The database; it may not exist yet.  None: the monitor has none."""

    clips: Path | None
    """Folder of the clips; None unless the configuration says `privacy: clips`."""

    sockets: Sequence[Path]
    """Paths of the status socket, likeliest first."""

    may_change: frozenset[str] = field(default_factory=frozenset)
    """Settings that the operator lets the page change: sensitivity, mute."""

    version: str = ""
    """Version of the program."""
