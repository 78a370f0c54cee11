"""A terminal, and programs that have it: what a person sees, and what keys do."""

import copy
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyte

DEADLINE_SECONDS = 60.0
_SYNCHRONISED = (b"\x1b[?2026h", b"\x1b[?2026l")
"""Sequences that pyte does not know, and other terminals ignore."""


class Screen(pyte.Screen):
    """The screen of pyte, with the alternate buffer that it lacks."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(columns, lines)
        self.is_alternate = False
        self._feed = pyte.ByteStream(self)
        self._kept: Any = None

    @property
    def text(self) -> str:
        """The visible lines."""
        return "\n".join(line.rstrip() for line in self.display)

    @property
    def has_cursor(self) -> bool:
        """True unless the cursor is hidden."""
        return not self.cursor.hidden

    def feed(self, data: bytes) -> None:
        """Take what a program prints."""
        for sequence in _SYNCHRONISED:
            data = data.replace(sequence, b"")
        self._feed.feed(data)

    def set_mode(self, *modes: int, **options: Any) -> None:
        """Set modes; 1049 begins on an empty screen."""
        if 1049 in modes and options.get("private") and not self.is_alternate:
            self._kept = copy.deepcopy(self.buffer), copy.copy(self.cursor)
            self.is_alternate = True
            self.erase_in_display(2)
        super().set_mode(*modes, **options)

    def reset_mode(self, *modes: int, **options: Any) -> None:
        """Reset modes; 1049 brings the other screen back, with its cursor."""
        super().reset_mode(*modes, **options)
        if 1049 in modes and options.get("private") and self.is_alternate:
            self.buffer, cursor = self._kept
            self.cursor.x, self.cursor.y = cursor.x, cursor.y
            self.is_alternate = False


class TerminalProgram:
    """A program that has a terminal of its own."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self.screen = Screen(columns, lines)
        self.code: int | None = None
        self.printed = b""
        """Everything that was printed so far."""

        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:  # the program
            try:
                self._set_size(0, columns, lines)
                os.execvpe(command[0], command, {**os.environ, **environment})
            finally:
                os._exit(127)

    def __enter__(self) -> "TerminalProgram":
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)

    def close_window(self) -> None:
        """Close the window of the terminal; nothing more can be read."""
        os.close(self.descriptor)
        self.descriptor = os.open(os.devnull, os.O_RDONLY)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window."""
        self.screen.resize(lines, columns)
        self._set_size(self.descriptor, columns, lines)

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self.descriptor, keys.encode())

    def modes(self) -> int:
        """The local modes of the terminal, such as ECHO."""
        return int(termios.tcgetattr(self.descriptor)[3])

    def wait_until(self, condition: Callable[[Screen], object]) -> None:
        """Read what is printed until the screen is as wanted."""
        until = time.monotonic() + DEADLINE_SECONDS
        while not condition(self.screen):
            assert self.read(0.1), f"it ended:\n{self.screen.text}"
            assert time.monotonic() < until, self.screen.text

    def wait_for(self, *words: str) -> None:
        """Read what is printed until all words are visible."""
        self.wait_until(lambda screen: all(word in screen.text for word in words))

    def wait(self) -> int:
        """Read until the program ends; return its exit code."""
        until = time.monotonic() + DEADLINE_SECONDS
        while self.read(0.1):
            assert time.monotonic() < until, self.screen.text
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def read(self, seconds: float) -> bool:
        """Read what is printed in this time; return False at its end."""
        if select.select([self.descriptor], [], [], seconds)[0]:
            try:
                data = os.read(self.descriptor, 65_536)
            except OSError:
                data = b""
            if not data:
                return False
            self.printed += data
            self.screen.feed(data)
        return True

    @staticmethod
    def _set_size(descriptor: int, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, size)
