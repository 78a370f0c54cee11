"""The service of systemd: what installing and removing it changes on this machine."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.config.parse import parse_config
from monitor.errors import ConfigError, ServiceError, UsageError
from monitor.runtime.unit import (
    PROGRAM,
    UNIT_NAME,
    folders_of_program,
    program_path,
    render_unit,
    shipped,
)

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
