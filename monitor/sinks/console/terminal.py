"""The terminal of the live display: its alternate screen, its modes and its keys."""

import atexit
import contextlib
import os
import select
import signal
import termios
import threading
from collections.abc import Callable
from typing import Any, TextIO

from monitor.output import HandOver

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""Alternate screen, no cursor, no wrapping of lines, clear."""

_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Terminals that know them show what stands between them at once."""

DEFAULT_SIZE = (80, 24)
MOST_KEYS = 64

Size = tuple[int, int]


class Terminal:
    """A terminal that is borrowed for a display, and given back as it was.

    Given back by `leave`, at the end of the process, and while it is stopped by Ctrl-Z.
    A process in the background leaves it alone.  Any thread.
    """

    def __init__(
        self,
        stream: TextIO,
        output: HandOver | None = None,
        keyboard: int | None = None,
    ) -> None:
        """Prepare.

        Args:
            stream: Where the display is written to; never waits for a reader.
            output: The way of `stream`; None: it is written at once.
            keyboard: Descriptor that is read for keys, if it is a terminal.
        """
        self.left: Callable[[], None] = lambda: None
        """Called whenever the terminal is the user's again."""

        self._stream = stream
        self._output = output
        self._descriptor = stream.fileno()
        is_terminal = keyboard is not None and os.isatty(keyboard)
        self._keyboard = keyboard if is_terminal else None
        self._lock = threading.RLock()
        self._is_entered = False
        self._modes: list[Any] | None = None

    @property
    def is_entered(self) -> bool:
        """True while the display has the terminal."""
        return self._is_entered

    @property
    def has_keys(self) -> bool:
        """True while keys are read."""
        return self._modes is not None

    @property
    def is_free(self) -> bool:
        """True if everything that was written has been taken by a reader."""
        output = self._output
        return output is None or not (output.is_behind or output.failure)

    @property
    def is_in_foreground(self) -> bool:
        """True if the terminal is ours to write on: no shell has put us aside."""
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return True  # it controls no processes

    @property
    def size(self) -> Size:
        """Columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self._descriptor)
        except OSError:
            return DEFAULT_SIZE
        return columns or DEFAULT_SIZE[0], lines or DEFAULT_SIZE[1]

    def take_signals(self) -> None:
        """Give the terminal back before a signal stops or ends the process.

        After a stop the display takes it anew.
        Main thread.
        """
        for number in (signal.SIGTSTP, signal.SIGQUIT):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._pass_on)
        # It may have been stopped by SIGSTOP, and the shell has changed the modes.
        if signal.getsignal(signal.SIGCONT) is signal.SIG_DFL:
            signal.signal(signal.SIGCONT, lambda *_: self.leave())

    def enter(self) -> None:
        """Take the terminal, unless it has been taken."""
        with self._lock:
            if self._is_entered:
                return
            atexit.register(self.leave)
            self._is_entered = True
            self._read_keys()
            self._stream.write(_ENTER)

    def show(self, text: str) -> None:
        """Write a part of the display, unless the terminal has been given back."""
        with self._lock:
            if self._is_entered:
                self._stream.write(f"{_BEGIN}{text}{_END}")

    def leave(self) -> None:
        """Give the terminal back, unless it has been.

        In the background its modes are left as the shell has set them.
        """
        with self._lock:
            if not self._is_entered:
                return
            self._is_entered = False
            self._stream.write(_LEAVE)
            self._stream.flush()
            modes, self._modes = self._modes, None
            if (
                modes is not None
                and self._keyboard is not None
                and self.is_in_foreground
            ):
                with contextlib.suppress(termios.error):
                    # Not TCSADRAIN, which waits for a terminal that Ctrl-S stopped.
                    termios.tcsetattr(self._keyboard, termios.TCSANOW, modes)
        self.left()

    def keys(self, seconds: float, stop: threading.Event) -> bytes:
        """Wait for keys, at most `seconds`; return none if there are none."""
        # In the background the keys are the shell's.
        is_ours = self.has_keys and self.is_in_foreground
        if not is_ours or self._keyboard is None:
            stop.wait(seconds)
            return b""
        try:
            if not select.select([self._keyboard], [], [], seconds)[0]:
                return b""
            found = os.read(self._keyboard, MOST_KEYS)
        except (OSError, ValueError):  # put aside after the question, or gone
            stop.wait(seconds)
            return b""
        if not found:  # the terminal is gone
            self._keyboard = None
        return found

    def _read_keys(self) -> None:
        """Have each key delivered at once and not shown; signals stay signals."""
        if self._keyboard is None or not self.is_in_foreground:
            return
        try:
            modes = termios.tcgetattr(self._keyboard)
            changed = [*modes[:3], modes[3] & ~(termios.ICANON | termios.ECHO)]
            characters = list(modes[6])
            characters[termios.VMIN], characters[termios.VTIME] = 1, 0
            termios.tcsetattr(
                self._keyboard, termios.TCSANOW, [*changed, *modes[4:6], characters]
            )
        except termios.error:
            return
        self._modes = modes

    def _pass_on(self, number: int, _frame: object) -> None:
        """Have a signal do what it does by default.  Main thread."""
        self.leave()
        if self._output is not None:
            self._output.drain()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Here it goes on, after SIGCONT.
        signal.signal(number, self._pass_on)
