"""Optional packages: whether they are there, and the command that installs them."""

import importlib.util
import os
import re
import shlex
import sys
import sysconfig
from pathlib import Path

from monitor.errors import ConfigError

DISTRIBUTION = "sound-monitor"


def require_extra(extra: str, module: str, place: str) -> None:
    """Check that `module`, which `extra` brings, is there for the section at `place`.

    Raises:
        ConfigError: It is not installed.
    """
    if lack := missing_extra(extra, module):
        raise ConfigError(f"{place}: {lack}")


def missing_extra(extra: str, module: str) -> str:
    """Return that `extra` is missing, and what to do; empty if `module` is there."""
    if importlib.util.find_spec(module) is not None:
        return ""
    command = install_command(extra)
    return f"needs the extra {extra}, which is not installed: run `{command}`"


def install_command(extra: str, distribution: str = DISTRIBUTION) -> str:
    """Return the command that installs an extra into this environment.

    It names the packages of the extra: the program itself is on no index.
    """
    return pip_install(*_packages(extra, distribution))


def pip_install(*packages: str) -> str:
    """Return the command that installs `packages` into this environment."""
    python = sys.executable
    command = [python, "-m", "pip", "install", *packages]
    if importlib.util.find_spec("pip") is None:
        command = ["pip", f"--python={python}", "install", *packages]
    if not os.access(sysconfig.get_path("purelib"), os.W_OK):
        command.insert(0, "sudo")
    return shlex.join(command)


def _packages(extra: str, distribution: str) -> list[str]:
    # Not above: it takes longer to import than most commands.
    from importlib import metadata

    try:
        requirements = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:  # run from a checkout
        return [f"{Path(__file__).parents[1]}[{extra}]"]
    marker = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    split = (requirement.partition(";") for requirement in requirements)
    return [name.strip() for name, _, condition in split if marker.search(condition)]
