"""A command of this program as a child process: its arguments and environment."""

import os
import sys
import sysconfig
from pathlib import Path

_PACKAGES = Path(__file__).parents[1]


def own_command(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return argv and environment of `sound-monitor ARGUMENTS` in this interpreter."""
    # -P: a module in the working folder must not take the place of ours.
    argv = [sys.executable, "-P", "-m", "monitor", *arguments]
    environment = dict(os.environ)
    if Path(sysconfig.get_path("purelib")) != _PACKAGES:  # not installed
        paths = [str(_PACKAGES), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return argv, environment
