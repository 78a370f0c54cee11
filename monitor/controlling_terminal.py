"""The terminal from which the process was started: whether it has been closed."""

import errno
import functools
import os
import signal


class ControllingTerminal:
    """The controlling terminal of this process, if a user works with it there."""

    def __init__(self) -> None:
        """Look for it; a program under `nohup` or without a terminal has none."""
        self._is_watched = (
            signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
            and any(os.isatty(descriptor) for descriptor in (0, 1, 2))
            and not _is_missing()
        )

    @property
    def is_closed(self) -> bool:
        """True once the window, or the connection to it, is gone."""
        return self._is_watched and _is_missing()


@functools.cache
def terminal_of_process() -> ControllingTerminal:
    """Return that of the start of this process: call it early, and once more."""
    return ControllingTerminal()


def _is_missing() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        return error.errno == errno.ENXIO
    return False
