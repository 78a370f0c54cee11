"""The bundles of a monitor on its disk: which one it runs, tries, or never takes again.

state_dir/rollout/state.json
state_dir/rollout/12.json, 12.safetensors    settings and model of bundle 12
"""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from monitor.config.base import Settings
from monitor.config.bundle import (
    BUNDLE_STATE,
    BUNDLES,
    BundleSettings,
    merge_bundle,
)
from monitor.config.config import Config
from monitor.config.load import check_settings
from monitor.errors import ConfigError
from monitor.private_files import FOLDER_MODE, read_regular, write_private
from monitor.runtime.bundle_file import MOST_MANIFEST_BYTES, Bundle, copy_model

STAGED = "SOUND_MONITOR_STAGED_BUNDLE"
"""Variable with the version of a bundle that a child process is to check: it takes the
place of the one that runs."""

LEFT_OUT = "SOUND_MONITOR_LEFT_OUT_BUNDLE"
"""Variable with the digest of a bundle on trial that is not used; see `note_start`."""

UNCOUNTED = "it was on trial, and the start of the monitor could not be counted"

MOST_RESTARTS = 1
"""Restarts that a bundle on trial survives: the power may fail."""

DOWNLOAD = ".download-"
"""Begin of the names of files that are being fetched."""

_MOST_BAD = 50

logger = logging.getLogger(__name__)


class Offered(Settings):
    """A bundle that was offered; the number alone could be that of a thief, too."""

    version: int
    digest: str
    """Of its content, whatever its share."""

    keys: Annotated[tuple[str, ...], Field(strict=False)]
    """The public keys that have signed it: two of them during a rotation."""

    def is_trusted(self, keys: Collection[str]) -> bool:
        """Whether one of its keys is among `keys`."""
        return any(key in keys for key in self.keys)


class Trial(Settings):
    """The trial of the bundle that runs."""

    previous: Offered | None
    """The bundle before; None: the settings of the configuration alone."""

    troubles: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Health problems before it, which are not its fault: SOURCE/KIND."""

    restarts: int = 0


class BadBundle(Settings):
    """A bundle that was rolled back, and is never used again."""

    version: int
    digest: str
    why: str
    """The reason, a sentence."""


class RolloutState(Settings):
    """What is known of bundles from one run to the next; transitions make new ones."""

    running: Offered | None = None
    """The bundle that is used; None: the settings of the configuration alone."""

    trial: Trial | None = None
    newest: Offered | None = None
    """That of the highest version that was ever offered: a lower one is not taken, nor
    another one of this version.
    """

    bad: Annotated[tuple[BadBundle, ...], Field(strict=False)] = ()

    def why_bad(self, offered: Offered | None) -> str | None:
        """Return why a bundle was rolled back; None: it was not."""
        if offered is None:
            return None
        return next((it.why for it in self.bad if it.digest == offered.digest), None)

    @property
    def sentence(self) -> str:
        """The bundle that is used and the newest that is not, for people, or empty."""
        parts = []
        if self.running is not None:
            trial = ", on trial" if self.trial is not None else ""
            parts.append(f"settings of bundle {self.running.version}{trial}")
        if why := self.rolled_back_newest:
            parts.append(why)
        return "; ".join(parts)

    @property
    def rolled_back_newest(self) -> str:
        """That the newest bundle was rolled back, a sentence, or empty."""
        why = self.why_bad(self.newest)
        if why is None or self.newest is None:
            return ""
        return f"bundle {self.newest.version} was rolled back: {why}"

    def trusted(self, keys: Collection[str]) -> "RolloutState":
        """Return the state without the bundles whose keys were all removed.

        Whoever has stolen a key may have used up the numbers, so they are free again.
        """

        def kept(offered: Offered | None) -> Offered | None:
            return offered if offered and offered.is_trusted(keys) else None

        trial, running = self.trial, kept(self.running)
        if trial is not None:
            previous = kept(trial.previous)
            trial = trial.model_copy(update={"previous": previous})
            if running is None:
                running, trial = previous, None
        newest = kept(self.newest) or running
        update = {"running": running, "trial": trial, "newest": newest}
        return self.model_copy(update=update)

    def with_newest(self, offered: Offered) -> "RolloutState":
        """Return the state after a bundle was offered, or one signed with a new key."""
        if self.newest is not None and self.newest.digest == offered.digest:
            keys = tuple(sorted({*self.newest.keys, *offered.keys}))
            offered = offered.model_copy(update={"keys": keys})
        running = self.running
        if running is not None and running.digest == offered.digest:
            running = offered
        return self.model_copy(update={"newest": offered, "running": running})

    def with_trial(self, offered: Offered, troubles: Collection[str]) -> "RolloutState":
        """Return the state in which a bundle is on trial."""
        trial = Trial(previous=self.running, troubles=tuple(sorted(troubles)))
        return self.model_copy(update={"running": offered, "trial": trial})

    def kept(self) -> "RolloutState":
        """Return the state after a trial that was passed."""
        return self.model_copy(update={"trial": None})

    def rolled_back(self, why: str) -> "RolloutState":
        """Return the state after a trial that was failed."""
        assert self.trial is not None
        assert self.running is not None
        version, digest = self.running.version, self.running.digest
        bad = BadBundle(version=version, digest=digest, why=why)
        all_bad = (*self.bad, bad)[-_MOST_BAD:]
        update = {"running": self.trial.previous, "trial": None, "bad": all_bad}
        return self.model_copy(update=update)

    def restarted(self) -> "RolloutState":
        """Return the state after the start of a process."""
        if self.trial is None:
            return self
        if self.trial.restarts >= MOST_RESTARTS:
            return self.rolled_back("the monitor ended twice while it was on trial")
        restarts = self.trial.restarts + 1
        trial = self.trial.model_copy(update={"restarts": restarts})
        return self.model_copy(update={"trial": trial})


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """The folder of the bundles of a monitor."""

    path: Path

    def read(self) -> RolloutState:
        """Read the state; nothing is known where there is none, or a damaged one.

        Raises:
            OSError: It cannot be read.
        """
        path = self.path / BUNDLE_STATE
        try:
            content = read_regular(path, MOST_MANIFEST_BYTES)
        except FileNotFoundError:
            return RolloutState()
        try:
            return check_settings(RolloutState, _object(content), str(path))
        except ConfigError as error:
            logger.warning("bundles are forgotten, their state is damaged: %s", error)
            return RolloutState()

    def write(self, state: RolloutState) -> None:
        """Write the state, and remove the bundles that it does not need.

        Raises:
            OSError: It cannot be written.
        """
        write_private(self.path / BUNDLE_STATE, state.model_dump_json(indent=1) + "\n")
        previous = None if state.trial is None else state.trial.previous
        used = {str(it.version) for it in (state.running, previous) if it is not None}
        for file in self.path.glob("[0-9]*.*"):
            if file.suffix in (".json", ".safetensors") and file.stem not in used:
                file.unlink(missing_ok=True)

    def install(self, path: Path, bundle: Bundle) -> None:
        """Copy a bundle to where `merged` finds it.

        Raises:
            OSError: It cannot be written.
        """
        self.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        manifest = bundle.manifest
        if manifest.model_bytes is not None:
            copy_model(path, bundle, self._model(manifest.version))
        data = manifest.settings.model_dump(mode="json", exclude_unset=True)
        write_private(self.path / f"{manifest.version}.json", json.dumps(data))

    def merged(self, config: Config, version: int) -> Config:
        """Return a configuration with the settings of an installed bundle.

        Raises:
            ConfigError: It does not fit, or cannot be read.
        """
        origin, path = f"bundle {version}", self.path / f"{version}.json"
        try:
            content = read_regular(path, MOST_MANIFEST_BYTES)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({origin}): {error.strerror}"
            ) from None
        settings = check_settings(BundleSettings, _object(content), origin)
        return merge_bundle(config, settings, self._model(version), origin)

    def _model(self, version: int) -> Path:
        return self.path / f"{version}.safetensors"


def bundle_folder(state_dir: Path) -> BundleFolder:
    """Return the folder of the bundles in `state_dir`; it may not exist yet."""
    return BundleFolder(state_dir / BUNDLES)


def note_start(state_dir: Path) -> Mapping[str, str]:
    """Count the start of a monitor; a bundle that saw too many is rolled back.

    Returns:
        Variables for the reading of the configuration: a start that cannot be counted
        is without the bundle on trial, which could else end the monitor for ever.
    """
    folder, before = bundle_folder(state_dir), RolloutState()
    try:
        before = folder.read()
        state = before.restarted()
        if state != before:
            folder.write(state)
        for rest in folder.path.glob(f"{DOWNLOAD}*"):
            rest.unlink()
    except OSError as error:
        # A full disk must not keep a monitor from listening.
        logger.error("the start is not counted: %s", error)
        on_trial = before.running if before.trial is not None else None
        return {LEFT_OUT: on_trial.digest} if on_trial is not None else {}
    if before.running is not None and (why := state.why_bad(before.running)):
        logger.error("bundle %d is rolled back: %s", before.running.version, why)
    return {}


def _object(content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return {"damaged": True}
    return data if isinstance(data, dict) else {"damaged": True}
