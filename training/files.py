"""Files that several processes share, and that a power failure leaves whole."""

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from monitor.errors import UsageError
from monitor.text import name_problem

logger = logging.getLogger(__name__)


if sys.platform != "win32":
    import fcntl


_POLL_SECONDS = 0.5


@contextlib.contextmanager
def locked_folder(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Lock `folder` against other processes; wait until none has it.

    Two trainings that start at the same time would else both decode the recordings, and
    overwrite each other's files.  `waiting` is called every half second meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not _locks(descriptor):
            logger.info("another process has locked %s; waiting for it", folder)
            waiting()
            while not _locks(descriptor):
                time.sleep(_POLL_SECONDS)
                waiting()
        yield
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some file systems have no locks; then the user must take care.
        logger.warning(
            "the folder cannot be locked (%s); start no other training that uses it",
            error.strerror,
        )
    return True


def make_folder(folder: Path, option: str) -> None:
    """Make the folder of an option, if it is not there.

    Raises:
        UsageError: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(
            f"{option}: the folder {folder} cannot be written ({error.strerror})"
        ) from None


def check_out(out: Path) -> None:
    """Check the path of the model file.

    Raises:
        UsageError: It is a folder, in no folder, or its name cannot be a model's.
    """
    if out.is_dir():
        raise UsageError(f"--out: {out} is a folder; name a file in it")
    if out.exists() and not out.is_file():
        raise UsageError(f"--out: {out} is not a file")  # such as /dev/null
    if not out.parent.is_dir():
        raise UsageError(f"--out: the folder {out.parent} does not exist")
    if (problem := name_problem(out.stem)) is not None:
        raise UsageError(f"--out: {out.stem!a} cannot name a model: {problem}")


def replace_text(path: Path, text: str) -> None:
    """Replace a file by a new text, whole or not at all."""
    beside = path.with_suffix(".partial")
    beside.write_text(text, encoding="utf-8")
    replace_file(beside, path)


def replace_file(beside: Path, path: Path) -> None:
    """Move a file to its place once all of it is on the disk: power may fail."""
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)
