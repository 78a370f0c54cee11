"""A full disk for one folder or one process only, and a read-only one for a folder."""

import contextlib
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monitor.runtime.drills.monitor_process import DrillError

TMPFS_MIB = 48
_PIECE_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A disk that can be filled and cleared."""

    means: str
    """Description of the limit, for people."""

    fill: Callable[[int], None]
    """Leave no space for a process."""

    clear: Callable[[int], None]
    """Give the process space again."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Limit the disk space in `folder`: root mounts a tmpfs, others limit file sizes.

    Raises:
        DrillError: The system supports neither.
    """
    with _mounted(folder) as is_mounted:
        if not is_mounted and not hasattr(resource, "prlimit"):
            raise DrillError("a full disk can only be simulated on Linux")
        yield _mounted_disk(folder / ".ballast") if is_mounted else _limited_disk()


@contextlib.contextmanager
def switchable_disk(folder: Path) -> Iterator[Callable[[bool], None]]:
    """Mount a disk at `folder`, and yield what makes it writable or read-only.

    It can be made read-only while no file in it is open for writing.

    Raises:
        DrillError: This user may not mount one.
    """

    def set_writable(is_writable: bool) -> None:
        how = "rw" if is_writable else "ro"
        if not _run("mount", "-o", f"remount,{how}", str(folder)):
            raise DrillError(f"the disk cannot be mounted {how}")

    with _mounted(folder) as is_mounted:
        if not is_mounted:
            raise DrillError("not done: only root may mount a disk that is read-only")
        yield set_writable


@contextlib.contextmanager
def _mounted(folder: Path) -> Iterator[bool]:
    """Mount a small file system at `folder`; False: this user may not."""
    size = f"size={TMPFS_MIB}m,mode=700"
    is_mounted = _run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder))
    try:
        yield is_mounted
    finally:
        if is_mounted:
            # Lazily: processes that hold files in it are about to end.
            _run("umount", "-l", str(folder))


def _mounted_disk(ballast: Path) -> SmallDisk:
    def fill(_pid: int) -> None:
        piece = _PIECE_BYTES
        with ballast.open("ab", buffering=0) as file:
            while piece:
                try:
                    file.write(bytes(piece))
                except OSError:
                    piece //= 2

    means = f"a file system of {TMPFS_MIB} MiB"
    return SmallDisk(means, fill, lambda _pid: ballast.unlink())


def _limited_disk() -> SmallDisk:
    """A limit to the size of files that a process writes; needs no privileges."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(pid: int, size: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, most))

    means = "a limit to the size of files"
    return SmallDisk(means, lambda pid: limit(pid, 1), lambda pid: limit(pid, before))


def _run(program: str, *arguments: str) -> bool:
    """Run a system program; return whether it succeeded."""
    found = shutil.which(program)
    if found is None:
        return False
    done = subprocess.run(  # noqa: S603 - our own arguments
        [found, *arguments], capture_output=True, check=False
    )
    return done.returncode == 0
