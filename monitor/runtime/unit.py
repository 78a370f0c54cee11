"""The unit of systemd, made to fit this program and its environment."""

import re
import sys
import sysconfig
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from monitor.errors import UsageError

PROGRAM = "sound-monitor"
UNIT_NAME = "sound-monitor.service"

# What the sandbox of the unit hides: ProtectHome, then PrivateTmp.
_HOMES = ("/home", "/root", "/run/user")
_HIDDEN = tuple(map(Path, (*_HOMES, "/tmp", "/var/tmp")))  # noqa: S108


def shipped(name: str) -> str:
    """The text of a file that comes with the program: a unit, a drop-in, config.yaml.

    In an installed program they lie beside the packages' modules, else in the folders
    of the repository.
    """
    return _folder_of(name).joinpath(name).read_text(encoding="utf-8")


def _folder_of(name: str) -> Path:
    package = Path(str(files("monitor")))
    repository = package.parent
    candidates = [package / "systemd", repository / "systemd", repository]
    return next(folder for folder in candidates if (folder / name).is_file())


def examples() -> Path:
    """The folder with examples of drop-ins."""
    return _folder_of("gpu.conf")


def program_path() -> Path:
    """Where the command `sound-monitor` of this environment is, if it is installed."""
    return Path(sysconfig.get_path("scripts")) / PROGRAM


def find_program() -> Path:
    """The command `sound-monitor` of this environment.

    Raises:
        UsageError: It is not installed here.
    """
    program = program_path()
    if not program.is_file():
        raise UsageError(
            f"{program} is not there: install sound-monitor into an environment, as "
            "by `python3 -m venv /opt/sound-monitor` and "
            "`/opt/sound-monitor/bin/pip install`, and use its command"
        )
    return program


def folders_of_program() -> list[Path]:
    """Every folder from which this interpreter takes programs and modules."""
    folders = [sys.prefix, sys.base_prefix, *sys.path[1:]]
    return sorted({Path(folder) for folder in folders if Path(folder).is_dir()})


def render_unit(program: Path, folders: Iterable[Path]) -> str:
    """The unit that comes with the program, for `program`.

    Args:
        program: What the service executes.
        folders: Needed by the program; those that the sandbox hides are let in.

    Raises:
        UsageError: A path has letters that mean something else in a unit.
    """
    hidden = _topmost(folder for folder in folders if _is_hidden(folder))
    for path in (program, *hidden):
        if not re.fullmatch(r"[\w./+@=,~-]+", str(path)):
            raise UsageError(
                f"{path} cannot stand in a unit: install sound-monitor into a folder "
                "without blanks and special letters, such as /opt/sound-monitor"
            )
    text = _replaced(shipped(UNIT_NAME), "ExecStart=", f"ExecStart={program} run")
    if hidden:
        lines = [
            "# The program itself lies in what is hidden here and below.",
            "ProtectHome=tmpfs",
            "# Empty folders: systemd 252 would let anybody write into them.",
            f"TemporaryFileSystem={' '.join(f'{home}:ro,mode=755' for home in _HOMES)}",
            *(f"BindReadOnlyPaths={folder}" for folder in hidden),
        ]
        text = _replaced(text, "ProtectHome=", "\n".join(lines))
    return text


def _replaced(text: str, start: str, line: str) -> str:
    """Put `line` in the place of the one line of `text` that begins with `start`."""
    changed, count = re.subn(
        rf"^{re.escape(start)}.*$", lambda _: line, text, flags=re.MULTILINE
    )
    assert count == 1, f"{count} lines begin with {start}"
    return changed


def _is_hidden(folder: Path) -> bool:
    return any(folder.is_relative_to(hidden) for hidden in _HIDDEN)


def _topmost(folders: Iterable[Path]) -> list[Path]:
    """Those that lie in no other one."""
    found: list[Path] = []
    for folder in sorted(folders):
        if not any(folder.is_relative_to(other) for other in found):
            found.append(folder)
    return found
