"""Files for their owner only: modes are repaired, links and open folders refused."""

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

# The times of sounds reveal when somebody was at home.
FILE_MODE = 0o600
FOLDER_MODE = 0o700

_OF_OTHERS = 0o077


def open_private(path: Path, flags: int) -> int:
    """Open a file, created with 0600; a regular one that others may use gets 0600 too.

    Raises:
        OSError: As `os.open`; or the file is a symbolic link, or others may use it and
            it belongs to another user.
    """
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), FILE_MODE)
    except OSError as error:
        raise (_link_error() if path.is_symlink() else error) from None
    try:
        if _is_open_to_others(os.fstat(descriptor)):
            _restrict(path, lambda: os.fchmod(descriptor, FILE_MODE))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Read a small file, and wait for nobody as a pipe does.

    Raises:
        OSError: As `open`; or it is no regular file, or longer.
    """
    # A pipe without a writer would hold up the opening for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        _check_kind(os.fstat(file.fileno()))
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is longer than {most_bytes} bytes")
    return content


def check_regular(path: Path) -> None:
    """Raise `OSError` if there is something else than a file, such as a pipe."""
    with contextlib.suppress(FileNotFoundError):
        _check_kind(path.stat())


def make_private(path: Path) -> None:
    """Give a file 0600 without opening it; a missing one is none of its business.

    Raises:
        OSError: As for `open_private`.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise _link_error()
    if _is_open_to_others(found):
        _restrict(path, lambda: path.chmod(FILE_MODE))


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole: after a power failure it is the old or the new one.

    Raises:
        OSError: It cannot be written; the old one is still there.
    """
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    try:
        descriptor = open_private(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def restrict_folder(folder: Path, *, is_trial: bool = False) -> str | None:
    """Close a folder that every user may write into; return why that is impossible.

    Whoever may write into it could replace the files of the monitor; with the sticky
    bit, as in /tmp, nobody can.  A trial changes nothing.
    """
    try:
        found = folder.stat()
    except OSError:
        return None  # it does not exist yet
    if found.st_mode & stat.S_ISVTX or not found.st_mode & stat.S_IWOTH:
        return None
    if os.geteuid() not in (0, found.st_uid):
        return (
            f"every user may write into {folder}, and so replace the files of the "
            "monitor: its owner can change that with `chmod o-w`, or choose another"
        )
    if not is_trial:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IRWXO)
        logger.warning("every user could write into %s: closed to others", folder)
    return None


def _check_kind(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _is_open_to_others(found: os.stat_result) -> bool:
    # Devices such as /dev/null are for everybody, and Windows has no such modes.
    is_posix = os.name == "posix"
    return is_posix and stat.S_ISREG(found.st_mode) and bool(found.st_mode & _OF_OTHERS)


def _restrict(path: Path, change: Callable[[], None]) -> None:
    try:
        change()
    except PermissionError:
        raise PermissionError(
            errno.EPERM, "other users may use it, and it is not the monitor's own"
        ) from None
    logger.warning("%s was open to other users: now only its owner may use it", path)


def _link_error() -> OSError:
    return OSError(errno.ELOOP, "it is a symbolic link: use its target")
