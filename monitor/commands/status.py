"""`sound-monitor status`: how the running monitor is doing."""

import os
from pathlib import Path

from monitor.commands.options import ConfigOption, JsonOption
from monitor.errors import ConfigError, UsageError

HELP = """Say how the running monitor is doing.

The first line says whether it truly listens: sound comes in from every source, and is
analysed.  If so the exit code is 0; it is 1 if something is not listened to, or if
there is no monitor, or one that hangs.

The monitor is asked on a private socket, by its user or root: as a service, with sudo.

\b
Examples:
  sound-monitor status
  sudo sound-monitor status --json
"""


def status(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Print what the monitor that runs with this configuration tells of itself."""
    from monitor.commands.output import print_json, tell
    from monitor.commands.vital_signs import print_vital_signs
    from monitor.sinks.status.asking import inquire

    fault = None
    try:
        places = _places(config)
    except ConfigError as error:
        # Whoever broke the file asks all the more how the monitor is doing.
        fault, places = error, _places_of_defaults(config)
    told = inquire(places)
    if fault is not None:
        if not told["running"]:
            raise fault
        tell(str(fault))
    if as_json:
        print_json(told)
    else:
        print_vital_signs(told)
    return 0 if told["listening"] else 1


def _places(chosen: Path | None) -> list[Path]:
    """Where the socket of the monitor may be, likeliest first."""
    from monitor.commands.configuration import load
    from monitor.sinks.status.place import is_supported, places_to_ask

    if not is_supported():
        raise UsageError("'status' needs sockets that this system does not have")
    configuration = load(chosen)
    setting = configuration.config.status.socket
    places = places_to_ask(setting, configuration.state_dir, os.environ)
    return _without_service(places, configuration.path)


def _places_of_defaults(chosen: Path | None) -> list[Path]:
    """Where it may be if the file, which cannot be read, does not say otherwise."""
    from monitor.commands.configuration import find_state_dir
    from monitor.sinks.status.place import places_to_ask

    state_dir = find_state_dir(None, os.environ)
    return _without_service(places_to_ask(None, state_dir, os.environ), chosen)


def _without_service(places: list[Path], path: Path | None) -> list[Path]:
    """Leave out the service where `path` is a configuration that it does not take."""
    from monitor.commands.configuration import SYSTEM_FILE
    from monitor.sinks.status.place import SERVICE_SOCKET

    if path in (None, SYSTEM_FILE):
        return places
    return [place for place in places if place != SERVICE_SOCKET]
