"""Podman with a storage of its own, and the base of the image, made by debootstrap.

No registry of images is needed.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support import ROOT
from tests.support.container_files import CONTAINERFILE, base_image
from tests.support.debian import UnavailableError, installed_debian

BASE = "localhost/base"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# What images of Python hold, and what slim ones of Debian leave out.
PACKAGES = ("python3", "python3-venv", "ca-certificates", "netbase", "tzdata")
LEFT_OUT = (
    *("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man"),
    *("var/cache/apt", "var/lib/apt/lists", "var/log"),
)
RUNTIMES = ("crun", "runc")
CLOSE_SECONDS = 20.0


def find_obstacle() -> str | None:
    """Return the reason why no image can be built here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in ("podman", "debootstrap") if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}: apt install podman runc debootstrap"
    return None


class Podman:
    """Containers and images.  Close it, or they stay."""

    def __init__(self, folder: Path) -> None:
        """Keep everything in `folder`."""
        self._folder = folder
        self._settings = folder / "containers.conf"
        root, run = folder / "root", folder / "run"
        self._podman = ["podman", f"--root={root}", f"--runroot={run}"]
        self._configure(RUNTIMES[0])

    def prepare(self) -> None:
        """Import the base image, and find a runtime.

        Raises:
            UnavailableError: There is no base, or no runtime starts a container here.
        """
        self._import(installed_debian(base_image().rpartition("-")[2], PACKAGES))
        self._configure(self._working_runtime())

    def _configure(self, runtime: str) -> None:
        self._settings.write_text(
            "[containers]\n"
            # Podman's own limits are higher than a machine may allow.
            'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
            "[engine]\n"
            f'runtime = "{runtime}"\n'
            'cgroup_manager = "cgroupfs"\n'
            'events_logger = "file"\n'
        )

    def _working_runtime(self) -> str:
        said = ""
        for runtime in RUNTIMES:
            self._configure(runtime)
            result = self.try_run("run", "--rm", "--network=host", BASE, "true")
            if result.returncode == 0:
                return runtime
            said += f"\n{runtime}: {result.stderr}"
        raise UnavailableError(f"podman starts no container here: {said}")

    def _import(self, system: Path) -> None:
        left_out = [f"--exclude=./{folder}/*" for folder in LEFT_OUT]
        with subprocess.Popen(
            ["tar", f"--directory={system}", *left_out, "-c", "."],
            stdout=subprocess.PIPE,
        ) as tar:
            self.run("import", "--change=CMD python3", "-", BASE, stdin=tar.stdout)

    def build(self, tag: str, extras: Sequence[str]) -> None:
        """Build the image from the working tree."""
        # The user's certificates, where a registry is reached through a proxy.
        trust = f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"
        self.run(
            *("build", "--format=docker", "--network=host", trust),
            *(f"--build-arg=BASE={BASE}", f"--build-arg=EXTRAS={','.join(extras)}"),
            *(f"--file={CONTAINERFILE}", f"--tag={tag}", str(ROOT)),
        )

    def try_run(
        self, *arguments: str, text: str | None = None, stdin: object = None
    ) -> subprocess.CompletedProcess[str]:
        """Run podman; `text` is the standard input of its container."""
        source = {"input": text} if stdin is None else {"stdin": stdin}
        return subprocess.run(
            [*self._podman, *arguments],
            **source,
            env={
                **os.environ,
                "CONTAINERS_CONF": str(self._settings),
                "TMPDIR": str(self._folder),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def run(
        self, *arguments: str, text: str | None = None, stdin: object = None
    ) -> str:
        """Run podman, which must succeed; return its output."""
        result = self.try_run(*arguments, text=text, stdin=stdin)
        said = f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
        assert result.returncode == 0, f"podman {' '.join(arguments)}: {said}"
        return result.stdout.strip()

    def inspect(self, container: str, field: str) -> str:
        return self.run("inspect", f"--format={{{{.{field}}}}}", container)

    def wait_until_healthy(self, container: str, seconds: float = 60.0) -> None:
        """Run the health check of the image until it succeeds."""
        until = time.monotonic() + seconds
        while self.try_run("healthcheck", "run", container).returncode != 0:
            assert time.monotonic() < until, self.run("logs", container)
            time.sleep(0.5)

    def close(self) -> None:
        """Remove containers, images and volumes."""
        self.try_run("rm", "-af", "-t", "0")
        # What cleans up after the containers may mount the storage once more.
        mounted = self._folder / "root" / "overlay"
        until = time.monotonic() + CLOSE_SECONDS
        while self._folder.exists():
            subprocess.run(["umount", "--quiet", "--lazy", mounted], check=False)
            shutil.rmtree(self._folder, ignore_errors=time.monotonic() < until)
