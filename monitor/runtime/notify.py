"""What the service manager is told, in the protocol of sd_notify(3)."""

import logging
import os
import socket
import time
from collections.abc import MutableMapping

from monitor.sinks.wording import printable

logger = logging.getLogger(__name__)

_SEND_SECONDS = 1.0
"""A service manager that hangs must not take the monitor along."""


class ServiceManager:
    """systemd, or nobody: without $NOTIFY_SOCKET nothing is sent.

    Used by the main thread.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Learn who listens, and take it out of `environ`.

        A program that the monitor starts must not speak in its name.
        """
        self._address = environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # abstract: a name without a file
            self._address = "\0" + self._address[1:]
        self._is_failing = False
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
        is_watched = microseconds.isdecimal() and pid == str(os.getpid())
        self.watchdog_seconds = int(microseconds) / 1e6 if is_watched else None
        """Without a word for so long, the monitor is ended; None: never."""

    def ready(self) -> None:
        """Say that the monitor works; also at the end of a reload."""
        self._send("READY=1")

    def status(self, sentence: str) -> None:
        """Say how the monitor is doing, in a sentence for people."""
        self._send(f"STATUS={printable(sentence)}")

    def alive(self) -> None:
        """Put off the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the monitor has begun to end."""
        self._send("STOPPING=1")

    def reloading(self) -> None:
        """Say that a reload begins; `ready` says that it is over."""
        # The clock that systemd compares with, whichever one the monitor goes by.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.settimeout(_SEND_SECONDS)
                connection.sendto(message.encode(), self._address)
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                logger.warning("the service manager cannot be told anything: %s", error)
            self._is_failing = True
