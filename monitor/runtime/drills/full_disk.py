"""A disk that is full, for one folder or one process and nobody else."""

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from monitor.runtime.drills.private_monitor import DrillError

TMPFS_MIB = 48
_BALLAST = ".ballast"
_PIECE_BYTES = 2**16


class FullDisk(Protocol):
    """What can be full, and have room again."""

    means: str
    """How it is made, for people."""

    def fill(self, pid: int) -> None:
        """Leave no room for a process."""

    def clear(self, pid: int) -> None:
        """Give it room again."""


class Tmpfs:
    """A small file system of its own in the folder."""

    def __init__(self, folder: Path) -> None:
        self.means = f"a file system of {TMPFS_MIB} MiB"
        self._ballast = folder / _BALLAST

    def fill(self, pid: int) -> None:  # noqa: ARG002 - the file system is its own
        """Write until nothing more fits, byte by byte at the end."""
        piece = _PIECE_BYTES
        with self._ballast.open("ab", buffering=0) as file:
            while piece:
                try:
                    file.write(bytes(piece))
                except OSError:
                    piece //= 2

    def clear(self, pid: int) -> None:  # noqa: ARG002 - as above
        """Delete what was written."""
        self._ballast.unlink()


class FileLimit:
    """A limit to the length of files that one process writes; any user may set it."""

    means = "a limit to the length of files"

    def __init__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, pid: int) -> None:
        """Let every file of the process be too long already."""
        self._set(pid, (1, self._before[1]))

    def clear(self, pid: int) -> None:
        """Let files grow again."""
        self._set(pid, self._before)

    def _set(self, pid: int, limit: tuple[int, int]) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[FullDisk]:
    """Make what can be full in `folder`: root mounts, anybody else limits.

    Raises:
        DrillError: This system can do neither.
    """
    if _mount(folder):
        try:
            yield Tmpfs(folder)
        finally:
            # Lazily: what still holds a file in it is about to end.
            _run("umount", "-l", str(folder))
    elif hasattr(resource, "prlimit"):
        yield FileLimit()
    else:
        raise DrillError("a full disk can only be rehearsed on Linux")


def _mount(folder: Path) -> bool:
    size = f"size={TMPFS_MIB}m,mode=700"
    return _run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder))


def _run(program: str, *arguments: str) -> bool:
    """Whether a program of the system did what it was asked for."""
    found = shutil.which(program)
    if found is None:
        return False
    done = subprocess.run(  # noqa: S603 - our own arguments
        [found, *arguments], capture_output=True, check=False
    )
    return done.returncode == 0
