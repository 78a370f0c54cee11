"""A Debian with systemd that is booted in a container, for tests of the service.

Needs root, debootstrap and systemd-nspawn.  The system is downloaded once and kept in
the cache folder; what a test changes is gone after it.
"""

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

# python3 brings the libraries that any interpreter of the host may need.
PACKAGES = ("systemd", "systemd-sysv", "python3", "procps", "libportaudio2")
TOOLS = ("debootstrap", "systemd-nspawn", "nsenter")

BOOT_SECONDS = 120.0
COMMAND_SECONDS = 240.0
OFF_SECONDS = 15.0


class UnavailableError(Exception):
    """No Debian can be booted here; the message says what is missing."""


def find_obstacle() -> str | None:
    """Return the reason why no Debian can be booted here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = "debootstrap systemd-container"
        return f"needs {', '.join(missing)}: apt install {packages}"
    if _release().get("ID") != "debian":
        return "needs Debian, whose libraries the environment is built for"
    return None


def _release() -> dict[str, str]:
    with suppress(OSError):
        return platform.freedesktop_os_release()
    return {}


def installed_debian(
    suite: str | None = None, packages: Sequence[str] = PACKAGES
) -> Path:
    """The folder with a fresh system; downloaded if need be.

    Args:
        suite: Its release; None: that of this machine.
        packages: What is installed in it, beside the least of a Debian.

    Raises:
        UnavailableError: It cannot be downloaded.
    """
    suite = suite or _release()["VERSION_CODENAME"]
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "sound-monitor-tests" / f"{suite}-{key}"
    if folder.exists():
        return folder
    new = folder.with_name(f"{folder.name}.{os.getpid()}")
    new.parent.mkdir(parents=True, exist_ok=True)
    include = f"--include={','.join(packages)}"
    bootstrap = subprocess.run(
        ["debootstrap", "--variant=minbase", include, suite, str(new)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if bootstrap.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        raise UnavailableError(f"debootstrap failed: {bootstrap.stdout[-500:]}")
    new.rename(folder)
    return folder


class Machine:
    """A booted Debian.  A context manager: whatever happens, it is off afterwards."""

    def __init__(self, system: Path, console: Path, binds: Sequence[Path]) -> None:
        """Boot `system`, with the folders `binds` at the same places, read-only.

        Raises:
            UnavailableError: It does not boot here.
        """
        self._console = console
        with console.open("wb") as output:
            self._container = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--boot"),
                    # Nothing is written to the system itself, nor to the host.
                    *("--volatile=overlay", "--link-journal=no", "--private-network"),
                    *("--register=no", "--keep-unit", "--console=pipe"),
                    *(f"--directory={system}", "--machine=sound-monitor-test"),
                    *(f"--bind-ro={folder}" for folder in binds),
                ],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._leader = 0
        try:
            self._wait_for_boot()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Switch it off."""
        if self._leader and self._container.poll() is None:
            self.run("systemctl", "poweroff", check=False)
            with suppress(subprocess.TimeoutExpired):
                self._container.wait(OFF_SECONDS)
        if self._leader and self._container.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)
        if self._container.poll() is None:
            self._container.kill()
        self._container.wait()

    def path(self, inside: str) -> Path:
        """Where the host sees a file of the machine; follow no absolute link."""
        return Path(f"/proc/{self._leader}/root") / inside.lstrip("/")

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a program as root of the machine; return what it says."""
        inside = ["nsenter", f"--target={self._leader}", "--all", "--", *argv]
        result = subprocess.run(
            inside,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        said = result.stdout.decode(errors="replace")
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(argv)}: {result.returncode}: {said}")
        return said

    def _wait_for_boot(self) -> None:
        def is_up() -> bool:
            children = Path(f"/proc/{self._container.pid}/task").glob("*/children")
            pids = [pid for child in children for pid in child.read_text().split()]
            if not pids:
                return False
            self._leader = int(pids[0])
            state = self.run("systemctl", "is-system-running", check=False).strip()
            return state in ("running", "degraded")

        deadline = time.monotonic() + BOOT_SECONDS
        while not is_up():
            if self._container.poll() is not None or time.monotonic() > deadline:
                said = self._console.read_text(errors="replace")[-500:]
                raise UnavailableError(f"systemd does not boot here: {said}")
            time.sleep(0.25)


class Service:
    """The installed service of a machine, as systemd and its files show it."""

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self._name = name

    def show(self, key: str) -> str:
        """One of the properties of the unit."""
        shown = self._machine.run("systemctl", "show", "-P", key, self._name)
        return shown.strip()

    @property
    def pid(self) -> int:
        """Process id of the daemon inside the machine; 0: it does not run."""
        return int(self.show("MainPID"))

    @property
    def journal(self) -> str:
        """The journal of the unit: lines of the service and of systemd."""
        return self._machine.run(
            "journalctl", "--no-pager", "-o", "cat", "-u", self._name
        )

    def wait_until(
        self, claim: str, condition: Callable[["Service"], object], seconds: float = 120
    ) -> float:
        """Wait until `condition` holds; return the seconds that it took."""
        began = time.monotonic()
        while not condition(self):
            waited = time.monotonic() - began
            assert waited < seconds, f"not {claim} in {seconds} s:\n{self.journal}"
            time.sleep(0.2)
        return time.monotonic() - began
