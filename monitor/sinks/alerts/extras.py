"""Packages that only some hooks need, and that are not installed by default."""

import importlib.util

from monitor.errors import ConfigError


def require_extra(extra: str, module: str, place: str) -> None:
    """Make sure that `module` can be imported.

    Args:
        extra: Of this program, as in sound-monitor[mqtt].
        module: That comes with it.
        place: Key path of the section that needs it, for the message.

    Raises:
        ConfigError: It is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigError(
            f"{place}: {module} is not installed: pip install 'sound-monitor[{extra}]'"
        )
