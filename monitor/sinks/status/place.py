"""Where the private socket is: for the daemon that makes it, and for who asks."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

NAME = "status.sock"
SERVICE_SOCKET = Path("/run/sound-monitor") / NAME
"""That of the service, as a shell sees it that has none of the unit's variables."""


def is_supported() -> bool:
    """Whether there are private sockets on this system."""
    return sys.platform != "win32"


def own_place(setting: str | None, state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Where a daemon makes its socket.

    Args:
        setting: `status.socket` of the configuration.
        state_dir: Folder for what the monitor writes.
        environ: Of the process.
    """
    return _places(setting, state_dir, environ)[0]


def places_to_ask(
    setting: str | None, state_dir: Path, environ: Mapping[str, str]
) -> list[Path]:
    """Where the socket of a daemon with the same settings may be, likeliest first.

    Who asks may have other variables than the daemon: from cron, or under another
    session.
    """
    places = _places(setting, state_dir, environ)
    return places if setting is not None else [*places, SERVICE_SOCKET]


def _places(
    setting: str | None, state_dir: Path, environ: Mapping[str, str]
) -> list[Path]:
    if setting is not None:
        return [state_dir / setting]
    places = []
    if environ.get("RUNTIME_DIRECTORY"):
        # A unit with several of them lists them with colons between.
        places.append(Path(environ["RUNTIME_DIRECTORY"].split(":")[0]) / NAME)
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        # Monitors of one user are told apart by where they write.
        mark = hashlib.sha256(str(state_dir).encode()).hexdigest()[:16]
        places.append(Path(runtime) / "sound-monitor" / f"{mark}.sock")
    return [*places, state_dir / NAME]
