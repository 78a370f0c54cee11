"""The context of the web page: where the monitor's files and sockets are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.config.config import Config
from monitor.web.passwords import Role


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

    config_file: Path | None = None
    """The file that `config` was read from; None: the one that commands find."""

    version: str = ""
    """Version of the program."""

    @property
    def may_change(self) -> frozenset[str]:
        """Settings that the operator lets the page change: sensitivity, mute."""
        return frozenset(self.config.web.may_change)

    @property
    def password_files(self) -> Mapping[Role, Path]:
        """The file of each role's password."""
        settings = self.config.web
        return {
            "owner": self.state_dir / settings.password_file,
            "viewer": self.state_dir / settings.viewer_password_file,
        }
