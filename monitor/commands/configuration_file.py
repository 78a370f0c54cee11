"""The configuration file of a command: which one it is, its text, the state folder.

Imports nothing that takes time; `configuration` checks the settings.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from monitor.errors import ConfigError

VARIABLE = "SOUND_MONITOR_CONFIG"
SYSTEM_FILE = Path("/etc/sound-monitor/config.yaml")


def find_file(
    chosen: Path | None,
    environ: Mapping[str, str] = os.environ,
    system_file: Path = SYSTEM_FILE,
) -> tuple[Path | None, str]:
    """Return the file of a command, and why it is this one; None: the defaults."""
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


def read_file(path: Path, reason: str) -> str:
    """Read the text of a configuration file.

    Raises:
        ConfigError: It cannot be read, or is not text.
    """
    from monitor.config.strict_yaml import MOST_BYTES
    from monitor.private_files import read_regular

    try:
        content = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({reason}): {error.strerror}"
        ) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not text in UTF-8") from None


def text_digest(text: str) -> str:
    """SHA-256 of the text of a configuration file, by which `status` knows it."""
    return hashlib.sha256(text.encode()).hexdigest()


def socket_settings(path: Path | None, reason: str) -> tuple[str | None, str | None]:
    """Read `status.socket` and `state_dir` of a file that may be invalid elsewhere.

    None where they are not set; that is their default too.
    """
    if path is None:
        return None, None
    from monitor.config.strict_yaml import read_yaml

    try:
        data = read_yaml(read_file(path, reason), str(path)).data
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
