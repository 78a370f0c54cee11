"""The context of the web page: where the monitor's files and sockets are."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monitor.config.bundle import BUNDLE_STATE, BUNDLES
from monitor.config.config import Config
from monitor.config.overrides import OVERRIDES
from monitor.errors import ConfigError, StoreError
from monitor.sinks.store.queries import Reader, open_to_read
from monitor.web.passwords import Role

logger = logging.getLogger(__name__)

FileVersions = Mapping[Path, tuple[int, int, int]]


class NoDatabaseError(StoreError):
    """There is none, or none yet."""

    def __init__(self, kind: str) -> None:
        """Name the key of the sentence in `error`."""
        super().__init__(kind)
        self.kind = kind


def file_versions(*files: Path | None) -> FileVersions:
    """Return what tells one version of each file from the next; none of missing ones.

    The monitor and editors write a file anew, or in place.
    """
    versions = {}
    for file in files:
        with contextlib.suppress(OSError):
            if file is not None:
                found = file.stat()
                versions[file] = (found.st_mtime_ns, found.st_ino, found.st_size)
    return versions


@dataclass(slots=True)
class WebContext:
    """Everything that a page may know of the monitor.

    `refresh` changes it, on the thread of the event loop; other threads only read.
    """

    config: Config
    """The configuration of the monitor; of the section `web`, that of the start."""

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

    read_again: Callable[[], "WebContext"] | None = None
    """Reads the configuration again; raises ConfigError."""

    problem: str = ""
    """Why the configuration could not be read again; empty: it could."""

    _versions: FileVersions | None = field(default=None, repr=False)

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

    @property
    def absence(self) -> str:
        """Key of the sentence for a monitor that does not run: recordings end."""
        inputs = [source.input for source in self.config.sources]
        if any(source.is_live for source in self.config.sources):
            return "common.offline"
        return "common.demo_over" if set(inputs) == {"demo:"} else "common.over"

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        """Open the database to read it.

        Raises:
            StoreError: It cannot be read, or there is none.
        """
        if self.database is None:
            raise NoDatabaseError("no_database")
        if not self.database.exists():
            raise NoDatabaseError("no_database_yet")
        with open_to_read(self.database) as reader:
            yield reader

    @property
    def settings_versions(self) -> FileVersions:
        """What tells one version of the files of the configuration from another."""
        bundles = self.state_dir / BUNDLES / BUNDLE_STATE
        return file_versions(self.config_file, self.state_dir / OVERRIDES, bundles)

    def refresh(self) -> None:
        """Read the configuration again if one of its files has changed.

        While it cannot be read, no clip is shown, and the rest stays as it was.
        """
        versions = self.settings_versions
        if self.read_again is None or versions == self._versions:
            return
        self._versions = versions
        try:
            fresh = self.read_again()
        except ConfigError as error:
            self.clips, self.problem = None, str(error)
            logger.warning("the configuration cannot be read again: %s", error)
            return
        # Listener, guard and live feed keep what they began with.
        web = {"may_change": fresh.config.web.may_change}
        section = self.config.web.model_copy(update=web)
        self.config = fresh.config.model_copy(update={"web": section})
        self.clips, self.problem = fresh.clips, ""
