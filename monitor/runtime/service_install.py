"""Installing and removing the systemd service: the unit file and the steps."""

import os
import re
import shlex
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
WEB_UNIT_NAME = "sound-monitor-web.service"

# Folders that the unit's sandbox hides: ProtectHome, then PrivateTmp.
_HOMES = ("/home", "/root", "/run/user")
_HIDDEN = tuple(map(Path, (*_HOMES, "/tmp", "/var/tmp")))  # noqa: S108


def shipped(name: str) -> str:
    """Return the text of an included file: unit, drop-in or config.yaml.

    The wheel contains them beside the modules; in a checkout they are in the folders
    of the repository.
    """
    return _folder_of(name).joinpath(name).read_text(encoding="utf-8")


def _folder_of(name: str) -> Path:
    package = Path(str(files("monitor")))
    repository = package.parent
    candidates = [package / "systemd", repository / "systemd", repository]
    return next(folder for folder in candidates if (folder / name).is_file())


def examples() -> Path:
    """Return the folder with example drop-ins."""
    return _folder_of("gpu.conf")


def program_path() -> Path:
    """Return the path of the environment's `sound-monitor`, which may not exist."""
    return Path(sysconfig.get_path("scripts")) / PROGRAM


def find_program() -> Path:
    """Return the path of the environment's `sound-monitor`.

    Raises:
        UsageError: It is not installed.
    """
    program = program_path()
    if not program.is_file():
        raise UsageError(
            f"{program} does not exist: install sound-monitor into an environment, for "
            "example with `python3 -m venv /opt/sound-monitor` and "
            "`/opt/sound-monitor/bin/pip install .`, and run its command"
        )
    return program


def folders_of_program() -> list[Path]:
    """Return the folders that this interpreter loads programs and modules from."""
    folders = [sys.prefix, sys.base_prefix, *sys.path[1:]]
    return sorted({Path(folder) for folder in folders if Path(folder).is_dir()})


def render_unit(program: Path, folders: Iterable[Path], name: str = UNIT_NAME) -> str:
    """Adapt an included unit file to `program`, and expose `folders` in its sandbox.

    Raises:
        UsageError: A path contains characters with a meaning in unit files.
    """
    hidden = _topmost(folder for folder in folders if _is_hidden(folder))
    for path in (program, *hidden):
        if not re.fullmatch(r"[\w./+@=,~-]+", str(path)):
            raise UsageError(
                f"{path} contains spaces or special characters, which a unit file does "
                "not allow: use a folder such as /opt/sound-monitor"
            )
    command = "web" if name == WEB_UNIT_NAME else "run"
    text = _replaced(shipped(name), "ExecStart=", f"ExecStart={program} {command}")
    if hidden:
        lines = [
            "# The program is in a folder that these settings would hide.",
            "ProtectHome=tmpfs",
            "# Read-only: systemd 252 would let anybody write into the empty folders.",
            f"TemporaryFileSystem={' '.join(f'{home}:ro,mode=755' for home in _HOMES)}",
            *(f"BindReadOnlyPaths={folder}" for folder in hidden),
        ]
        text = _replaced(text, "ProtectHome=", "\n".join(lines))
    return text


def _replaced(text: str, start: str, line: str) -> str:
    """Replace the one line of `text` that begins with `start`."""
    changed, count = re.subn(
        rf"^{re.escape(start)}.*$", lambda _: line, text, flags=re.MULTILINE
    )
    assert count == 1, f"{count} lines begin with {start}"
    return changed


def _is_hidden(folder: Path) -> bool:
    return any(folder.is_relative_to(hidden) for hidden in _HIDDEN)


def _topmost(folders: Iterable[Path]) -> list[Path]:
    """Leave out folders inside other ones."""
    found: list[Path] = []
    for folder in sorted(folders):
        if not any(folder.is_relative_to(other) for other in found):
            found.append(folder)
    return found


UNIT = Path("/etc/systemd/system") / UNIT_NAME
WEB_UNIT = UNIT.with_name(WEB_UNIT_NAME)
LINK = Path("/usr/local/bin") / PROGRAM
"""Where every user's shell finds the program."""

CONFIG = Path("/etc/sound-monitor/config.yaml")
STATE = Path("/var/lib/sound-monitor")

_SYSTEMD_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Step:
    """One change, or the reason why nothing changes."""

    sentence: str
    perform: Callable[[], None] | None = None


def plan_install(
    program: Path, config: Path | None, root: Path = Path("/"), *, web: bool = False
) -> list[Step]:
    """List the steps of the installation.

    Args:
        program: The command that the service executes.
        config: Initial configuration of the service; None: the commented defaults.
        root: The root folder; another one for tests.
        web: Install the service of the web page, too; one that is there is upgraded.

    Raises:
        ConfigError: The configuration is invalid.
        UsageError: The program cannot run as a service, or `config` differs from the
            existing configuration.
    """
    web = web or _below(root, WEB_UNIT).exists()
    folders = folders_of_program()
    unit = render_unit(program, folders)
    page = [render_unit(program, folders, WEB_UNIT_NAME)] if web else []
    names = [PROGRAM, WEB_UNIT_NAME.removesuffix(".service")][: 1 + web]
    return [
        *_install_config(config, _below(root, CONFIG)),
        *_install_link(program, _below(root, LINK), _below(root, UNIT)),
        *_install_unit(unit, _below(root, UNIT)),
        *(
            step
            for text in page
            for step in _install_unit(text, _below(root, WEB_UNIT))
        ),
        _systemctl("reload the units", "daemon-reload"),
        _systemctl("start it at every boot", "enable", *names),
        _systemctl("start this version now", "restart", *names),
    ]


def plan_uninstall(root: Path = Path("/")) -> list[Step]:
    """List the steps of the removal; configuration and data stay."""
    unit, page = _below(root, UNIT), _below(root, WEB_UNIT)
    units = [path for path in (page, unit) if path.exists()]
    if not units:
        return [Step(f"{unit} does not exist: nothing to remove")]
    names = [path.stem for path in units]
    steps = [
        _systemctl("stop it, now and at every boot", "disable", "--now", *names),
        *(Step(f"remove {path}", path.unlink) for path in units),
        _systemctl("reload the units", "daemon-reload"),
    ]
    link = _below(root, LINK)
    if link.is_symlink() and link.readlink() == _program_of(unit):
        steps.append(Step(f"remove {link}", link.unlink))
    others = (
        *(path.with_name(f"{path.name}.d") for path in (unit, page)),
        *(_kept(path) for path in (unit, page)),
        _below(root, CONFIG.parent),
        _below(root, STATE),
    )
    left = [path for path in others if path.exists()]
    return [
        *steps,
        *(Step(f"keep {path}: delete it if it is not needed") for path in left),
    ]


def carry_out(
    steps: Sequence[Step], say: Callable[[str], None], *, dry_run: bool
) -> None:
    """Print and perform each step; with `dry_run`, only print it.

    Raises:
        ServiceError: The user is not root, systemd does not run, or a step failed.
    """
    if not dry_run:
        _check_rights()
    for step in steps:
        if step.perform is None or not dry_run:
            say(step.sentence)
        else:
            say(f"would {step.sentence}")
        if step.perform is not None and not dry_run:
            step.perform()


def _check_rights() -> None:
    if not Path("/run/systemd/system").is_dir():
        raise ServiceError(
            "this system does not run systemd; start `sound-monitor run` with its own "
            "service manager"
        )
    if os.geteuid() != 0:
        program = shlex.quote(str(program_path()))
        raise ServiceError(
            f"only root may change services: use `sudo {program}`, or --dry-run to "
            "print the steps"
        )


def _install_config(chosen: Path | None, target: Path) -> list[Step]:
    text = shipped(CONFIG.name) if chosen is None else _read(chosen)
    parse_config(text, CONFIG.name if chosen is None else str(chosen))
    if not target.exists():
        origin = "the commented defaults" if chosen is None else f"a copy of {chosen}"
        return [Step(f"write {target}: {origin}", lambda: _write(target, text, 0o644))]
    present = _read(target)
    if chosen is not None and present != text:
        raise UsageError(
            f"{target} exists and differs from {chosen}: it is not overwritten; edit "
            "it, or move it away"
        )
    parse_config(present, str(target))
    return [Step(f"keep {target}")]


def _install_unit(text: str, target: Path) -> list[Step]:
    if not target.exists():
        return [Step(f"write {target}", lambda: _write(target, text, 0o644))]
    if _read(target) == text:
        return [Step(f"keep {target}: it is up to date")]
    old = _kept(target)
    return [
        Step(f"copy {target} to {old}", lambda: _copy(target, old)),
        Step(f"write {target}", lambda: _write(target, text, 0o644)),
    ]


def _install_link(program: Path, link: Path, unit: Path) -> list[Step]:
    """Link the program, unless something else has its name; `unit` names the former."""
    if _is(link, program):
        return [Step(f"keep {link}")]
    is_ours = link.is_symlink() and link.readlink() == _program_of(unit)
    if os.path.lexists(link) and not is_ours:
        return [
            Step(f"keep {link}: it is not of this service; its program is {program}")
        ]
    return [Step(f"link {link} to {program}", lambda: _link(link, program))]


def calling_name(program: Path) -> str:
    """Return what a shell calls the program by: its path if its name is taken."""
    is_taken = os.path.lexists(LINK) and not _is(LINK, program)
    return shlex.quote(str(program)) if is_taken else PROGRAM


def _is(link: Path, program: Path) -> bool:
    """Return True for the program itself and for a link to it."""
    return link == program or (link.is_symlink() and link.readlink() == program)


def _link(link: Path, program: Path) -> None:
    new = link.with_name(f"{link.name}.new")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        new.symlink_to(program)
        new.replace(link)
    except OSError as error:
        raise ServiceError(f"{link}: cannot be written: {error.strerror}") from None


def _program_of(unit: Path) -> Path | None:
    """Return the program that a unit file starts; None: there is none."""
    text = _read(unit) if unit.exists() else ""
    found = re.search(r"^ExecStart=(\S+) run$", text, re.MULTILINE)
    return None if found is None else Path(found[1])


def _kept(unit: Path) -> Path:
    """Path of the previous unit file, which systemd does not read."""
    return unit.with_name(f"{unit.name}.old")


def _systemctl(purpose: str, *arguments: str) -> Step:
    command = ["systemctl", *arguments]
    return Step(f"{purpose}: {' '.join(command)}", lambda: _run(command))


def _run(command: Sequence[str]) -> None:
    path = shutil.which(command[0])
    if path is None:
        raise ServiceError(f"{command[0]} was not found: this system has no systemd")
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
    """Write beside and rename, so that the file is complete."""
    new = path.with_name(f"{path.name}.new")
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o755)  # despite root's umask: the service reads it
        new.write_text(text, encoding="utf-8")
        new.chmod(mode)
        new.replace(path)
    except OSError as error:
        raise ServiceError(f"{path}: cannot be written: {error.strerror}") from None


def _copy(path: Path, to: Path) -> None:
    _write(to, _read(path), 0o644)
