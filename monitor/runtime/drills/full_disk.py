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
_BALLAST = ".ballast"
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
    size = f"size={TMPFS_MIB}m,mode=700"
    if _run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)):
        try:
            yield mounted_disk(folder)
        finally:
            # Lazily: processes that hold files in it are about to end.
            _run("umount", "-l", str(folder))
    elif hasattr(resource, "prlimit"):
        yield limited_disk()
    else:
        raise DrillError("a full disk can only be simulated on Linux")


def mounted_disk(folder: Path) -> SmallDisk:
    """A small file system mounted at `folder`."""
    ballast = folder / _BALLAST

    def fill(_pid: int) -> None:
        piece = _PIECE_BYTES
        with ballast.open("ab", buffering=0) as file:
            while piece:
                try:
                    file.write(bytes(piece))
                except OSError:
                    piece //= 2

    return SmallDisk(
        f"a file system of {TMPFS_MIB} MiB", fill, lambda _pid: ballast.unlink()
    )


def limited_disk() -> SmallDisk:
    """A limit to the size of files that a process writes; needs no privileges."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(pid: int, soft: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, before[1]))

    return SmallDisk(
        "a limit to the size of files",
        lambda pid: limit(pid, 1),
        lambda pid: limit(pid, before[0]),
    )


@contextlib.contextmanager
def switchable_disk(folder: Path) -> Iterator[Callable[[bool], None]]:
    """Mount a disk at `folder`, and yield what makes it writable or read-only.

    It can be made read-only while no file in it is open for writing.

    Raises:
        DrillError: This user may not mount one.
    """
    size = f"size={TMPFS_MIB}m,mode=700"
    if not _run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)):
        raise DrillError("not done: only root may mount a disk that is read-only")

    def set_writable(is_writable: bool) -> None:
        how = "rw" if is_writable else "ro"
        if not _run("mount", "-o", f"remount,{how}", str(folder)):
            raise DrillError(f"the disk cannot be mounted {how}")

    try:
        yield set_writable
    finally:
        _run("umount", "-l", str(folder))


def _run(program: str, *arguments: str) -> bool:
    """Run a system program; return whether it succeeded."""
    found = shutil.which(program)
    if found is None:
        return False
    done = subprocess.run(  # noqa: S603 - our own arguments
        [found, *arguments], capture_output=True, check=False
    )
    return done.returncode == 0
