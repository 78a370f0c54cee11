"""Packages that only some hooks need, and that are not installed by default."""

import importlib.util

from monitor.errors import ConfigError

PACKAGES = {
    "apprise": "apprise",
    "paho": "paho-mqtt",
    "prometheus_client": "prometheus-client",
}
"""Names of packages by the modules in them."""


def require_extra(extra: str, module: str, place: str) -> None:
    """Make sure that `module` can be imported.

    Args:
        extra: Of this program, as in sound-monitor[mqtt].
        module: That comes with it, one of PACKAGES.
        place: Key path of the section that needs it, for the message.

    Raises:
        ConfigError: It is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigError(
            f"{place}: {PACKAGES[module]} is not installed: "
            f"pip install 'sound-monitor[{extra}]'"
        )
