"""The configuration file and the state folder of a command."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.config.load import MOST_CHARACTERS, check_settings, parse_config, read_yaml
from monitor.errors import ConfigError

VARIABLE = "SOUND_MONITOR_CONFIG"
_MOST_BYTES = 4 * MOST_CHARACTERS
SYSTEM_FILE = Path("/etc/sound-monitor/config.yaml")


@dataclass(frozen=True)
class Configuration:
    """Settings and their origin."""

    config: Config
    state_dir: Path
    """Absolute folder for everything the monitor writes; may not exist yet."""

    path: Path | None
    """The file; None: the defaults."""

    reason: str
    """Why this file was chosen."""

    @property
    def taken(self) -> str:
        """The absolute path of the file, or "the defaults"."""
        return "the defaults" if self.path is None else str(self.path.absolute())

    @property
    def sentence(self) -> str:
        """The choice and its reason, for people."""
        return f"configuration: {self.path or 'the defaults'} ({self.reason})"

    def placed(self, sentences: str) -> str:
        """Prefix sentences about settings with file and line of their keys.

        Sentences that do not begin with a key of the file stay as they are.
        """
        if self.path is None:
            return sentences
        try:
            document = read_yaml(_read(self.path, self.reason), str(self.path))
        except ConfigError:  # the file has changed since
            return sentences
        lines = []
        for sentence in sentences.splitlines():
            line = document.line_of(sentence)
            place = "" if line is None else f"{self.path}:{line}: "
            lines.append(f"{place}{sentence}")
        return "\n".join(lines)

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Add file and line to a `ConfigError` of the block."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(self.placed(str(error))) from error


def load(
    chosen: Path | None,
    environ: Mapping[str, str] = os.environ,
    system_file: Path = SYSTEM_FILE,
) -> Configuration:
    """Read `chosen`, else $SOUND_MONITOR_CONFIG, else the system's file, else defaults.

    Raises:
        ConfigError: The named file is missing or invalid.
    """
    return _load(*_find(chosen, environ, system_file), environ)


def load_again(
    before: Configuration,
    environ: Mapping[str, str] = os.environ,
    system_file: Path = SYSTEM_FILE,
) -> Configuration:
    """Read the file of `before` again; for the defaults, search as `load` does.

    Raises:
        ConfigError: The file is missing or invalid.
    """
    if before.path is None:
        return load(None, environ, system_file)
    return _load(before.path, before.reason, environ)


def _load(path: Path | None, reason: str, environ: Mapping[str, str]) -> Configuration:
    config = Config() if path is None else parse_config(_read(path, reason), str(path))
    state_dir = find_state_dir(config.state_dir, environ)
    return Configuration(config, state_dir, path, reason)


def _find(
    chosen: Path | None, environ: Mapping[str, str], system_file: Path
) -> tuple[Path | None, str]:
    if chosen is not None:
        return chosen, "--config"
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE]), f"${VARIABLE}"
    reason = f"no --config, no ${VARIABLE}"
    try:
        exists = system_file.exists()
    except OSError:  # its folder cannot be searched: the error of reading says so
        exists = True
    return (system_file, reason) if exists else (None, f"{reason}, no {system_file}")


def _read(path: Path, reason: str) -> str:
    try:
        with path.open("rb") as file:
            # A device or a pipe may have no end.
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({reason}): {error.strerror}"
        ) from None
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path}: is longer than {_MOST_BYTES} bytes ({reason})")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not text in UTF-8") from None


def socket_settings(chosen: Path | None) -> tuple[str | None, str | None]:
    """Read `status.socket` and `state_dir` of a file that may be invalid elsewhere."""
    try:
        path, reason = _find(chosen, os.environ, SYSTEM_FILE)
        data = {} if path is None else read_yaml(_read(path, reason), str(path)).data
    except ConfigError:
        return None, None
    section = data.get("status")
    socket = section.get("socket") if isinstance(section, dict) else None
    folder = data.get("state_dir")
    return (
        socket if isinstance(socket, str) else None,
        folder if isinstance(folder, str) else None,
    )


def find_state_dir(
    setting: str | None, environ: Mapping[str, str], platform: str = sys.platform
) -> Path:
    """Return the absolute state folder, which may not exist yet.

    It is the setting, else $STATE_DIRECTORY, which systemd sets, else the platform's
    folder for the state of a user's programs.

    Raises:
        ConfigError: The home folder or the working folder does not exist.
    """
    try:
        return _state_dir(setting, environ, platform).absolute()
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"state_dir: {error}; write an absolute path") from None


def _state_dir(setting: str | None, environ: Mapping[str, str], platform: str) -> Path:
    if setting is not None:
        return Path(setting).expanduser()
    # A unit with several state directories lists them with colons between.
    folders = list(filter(None, environ.get("STATE_DIRECTORY", "").split(":")))
    if folders:
        return Path(folders[0])
    home = Path(environ.get("HOME") or Path("~").expanduser())
    if platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(environ.get("XDG_STATE_HOME", ""))
        if not base.is_absolute():  # as the XDG specification says
            base = home / ".local" / "state"
    return base / "sound-monitor"


def with_options(
    config: Config,
    *,
    inputs: Sequence[str] = (),
    model: Path | None = None,
    compute_device: str | None = None,
) -> Config:
    """Replace settings of the file by those of the command line.

    `inputs` replace all sources of the file.

    Raises:
        ConfigError: An input is not a mic:, file:, command: or demo: input.
    """
    chosen: dict[str, object] = {}
    if model is not None:
        chosen["file"] = str(model)
    if compute_device is not None:
        chosen["compute_device"] = compute_device
    update: dict[str, object] = {"model": config.model.model_copy(update=chosen)}
    if inputs:
        update["sources"] = _sources(inputs)
    return config.model_copy(update=update)


def _sources(inputs: Sequence[str]) -> tuple[SourceSettings, ...]:
    """Name each input after its kind: mic, demo, mic-2 for a second microphone."""
    sources: list[SourceSettings] = []
    for spec in inputs:
        kind = spec.partition(":")[0]
        count = sum(source.input.startswith(f"{kind}:") for source in sources)
        name = kind if count == 0 else f"{kind}-{count + 1}"
        data = {"name": name, "input": spec}
        sources.append(check_settings(SourceSettings, data, "--input"))
    return tuple(sources)
