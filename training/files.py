"""Files that other processes find, and that a power cut leaves whole or not at all."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


if sys.platform != "win32":
    import fcntl


_PATIENCE_SECONDS = 0.5


@contextlib.contextmanager
def alone_in(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Let no other process make the same in `folder` meanwhile; wait until none does.

    Two trainings that start at the same time would else both decode the recordings, and
    take each other's files away.  A process that ends lets go, however it ends.

    Args:
        folder: Is made if it is not there.
        waiting: Called every half second while another process is busy; may raise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not _locks(descriptor):
            logger.info("another process is busy in %s; waiting for it", folder)
            waiting()
            while not _locks(descriptor):
                time.sleep(_PATIENCE_SECONDS)
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
        # Some file systems know no locks; then it is the user who must take care.
        logger.warning(
            "the folder cannot be locked (%s); start no other training that uses it",
            error.strerror,
        )
    return True


def replace_text(path: Path, text: str) -> None:
    """Write a file beside the old one, and put it in its place."""
    beside = path.with_suffix(".partial")
    beside.write_text(text)
    put(beside, path)


def put(beside: Path, path: Path) -> None:
    """Put a file in its place, when all of it is on the disk: power may fail."""
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)
