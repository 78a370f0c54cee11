"""The service of systemd: what installing and removing it changes on this machine.

The unit of systemd, made to fit this program and its environment.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from monitor.config.load import parse_config
from monitor.errors import ConfigError, ServiceError, UsageError

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


UNIT = Path("/etc/systemd/system") / UNIT_NAME
CONFIG = Path("/etc/sound-monitor/config.yaml")
STATE = Path("/var/lib/sound-monitor")

_SYSTEMD_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """One change, or why there is none."""

    sentence: str
    perform: Callable[[], None] | None = None


def plan_install(
    program: Path, config: Path | None, root: Path = Path("/")
) -> list[Step]:
    """What installing the service of this program and its environment would change.

    Args:
        program: What the service executes, with this interpreter.
        config: Becomes the system's configuration; None: that which shows the defaults,
            unless there is one.
        root: Folder below which everything lies.

    Raises:
        ConfigError: The configuration that would count breaks a rule.
        UsageError: The program cannot be run as a service, or `config` would replace
            a file that says something else.
    """
    unit = render_unit(program, folders_of_program())
    return [
        *_install_config(config, _below(root, CONFIG)),
        *_install_unit(unit, _below(root, UNIT)),
        _systemctl("read the units anew", "daemon-reload"),
        _systemctl("start it at every boot", "enable", PROGRAM),
        _systemctl("start it now", "restart", PROGRAM),
    ]


def plan_uninstall(root: Path = Path("/")) -> list[Step]:
    """What removing the service would change; configuration and data stay."""
    unit = _below(root, UNIT)
    if not unit.exists():
        return [Step(f"{unit} is not there: nothing to remove")]
    steps = [
        _systemctl("stop it, now and at every boot", "disable", "--now", PROGRAM),
        Step(f"remove {unit}", unit.unlink),
        _systemctl("read the units anew", "daemon-reload"),
    ]
    others = (
        unit.with_name(f"{UNIT_NAME}.d"),
        _kept(unit),
        _below(root, CONFIG.parent),
        _below(root, STATE),
    )
    left = [path for path in others if path.exists()]
    return [
        *steps,
        *(Step(f"leave {path}: delete it if nobody needs it") for path in left),
    ]


def carry_out(
    steps: Sequence[Step], tell: Callable[[str], None], *, dry_run: bool
) -> None:
    """Tell each step and perform it; with `dry_run`, only tell it.

    Raises:
        ServiceError: Not run by root, there is no systemd, or a step failed.
    """
    if not dry_run:
        _check_rights()
    for step in steps:
        if step.perform is None or not dry_run:
            tell(step.sentence)
        else:
            tell(f"would {step.sentence}")
        if step.perform is not None and not dry_run:
            step.perform()


def _check_rights() -> None:
    if not Path("/run/systemd/system").is_dir():
        raise ServiceError(
            "this system was not started by systemd; run `sound-monitor run` by what "
            "starts its services"
        )
    if os.geteuid() != 0:
        raise ServiceError(
            f"only root may change services: `sudo {program_path()}`; --dry-run shows "
            "to anybody what would be done"
        )


def _install_config(chosen: Path | None, target: Path) -> list[Step]:
    text = shipped(CONFIG.name) if chosen is None else _read(chosen)
    parse_config(text, CONFIG.name if chosen is None else str(chosen))
    if not target.exists():
        origin = "the defaults" if chosen is None else f"the same as {chosen}"
        return [
            Step(f"write {target}: {origin}", lambda: _write(target, text, 0o644)),
        ]
    present = _read(target)
    if chosen is not None and present != text:
        raise UsageError(
            f"{target} is there and says something else than {chosen}: nothing is "
            "overwritten; edit it, or move it away"
        )
    parse_config(present, str(target))
    return [Step(f"leave {target} as it is")]


def _install_unit(text: str, target: Path) -> list[Step]:
    if not target.exists():
        return [Step(f"write {target}", lambda: _write(target, text, 0o644))]
    if _read(target) == text:
        return [Step(f"leave {target} as it is: it is up to date")]
    old = _kept(target)
    return [
        Step(f"keep what {target} says in {old}", lambda: _copy(target, old)),
        Step(f"write {target}", lambda: _write(target, text, 0o644)),
    ]


def _kept(unit: Path) -> Path:
    """Where a unit that said something else is kept; systemd does not read it."""
    return unit.with_name(f"{unit.name}.old")


def _systemctl(purpose: str, *arguments: str) -> Step:
    command = ["systemctl", *arguments]
    return Step(f"{purpose}: {' '.join(command)}", lambda: _run(command))


def _run(command: Sequence[str]) -> None:
    path = shutil.which(command[0])
    if path is None:
        raise ServiceError(f"{command[0]} is not there: this system has no systemd")
    try:
        subprocess.run(  # noqa: S603 - fixed words
            [path, *command[1:]],
            check=True,
            timeout=_SYSTEMD_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (subprocess.SubprocessError, OSError):
        raise ServiceError(
            f"`{' '.join(command)}` failed; `journalctl -u {PROGRAM} -n 20` says more"
        ) from None


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text in UTF-8") from None


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o755)  # whatever root's umask is: the service reads it
        new.write_text(text, encoding="utf-8")
        new.chmod(mode)
        new.replace(path)
    except OSError as error:
        raise ServiceError(f"{path}: cannot be written: {error.strerror}") from None


def _copy(path: Path, to: Path) -> None:
    _write(to, _read(path), 0o644)
