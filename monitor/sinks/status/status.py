"""The sink that answers on a private socket how the monitor is doing."""

import contextlib
import errno
import json
import logging
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from monitor.records import Statistics, Timed
from monitor.sinks.background import Background
from monitor.sinks.status.document import document
from monitor.sinks.status.door import Door
from monitor.sinks.status.vitals import Vitals

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
RETRY_SECONDS = 5.0
ANSWER_SECONDS = 0.5
"""Longest time for one who asks and does not read."""

LAST_SECONDS = 0.5


class Status:
    """Writes to whoever connects one JSON document, and closes.

    It has a thread of its own, so it answers too when the worker hangs, and says that.
    Only the user of the monitor, and root, can connect.
    """

    def __init__(self, vitals: Vitals, path: Path) -> None:
        """Prepare; nothing is made before the first `report`.

        Args:
            vitals: What there is to tell.
            path: Of the socket.
        """
        self._vitals = vitals
        self._path = path
        self._background = Background("status", self._run)
        self._listener: socket.socket | None = None
        self._problem = ""

    def write(self, batch: Sequence[Timed]) -> None:
        """Do nothing: what records tell is in the statistics."""

    def report(self, statistics: Statistics) -> None:
        """Learn how the monitor is doing."""
        self._vitals.report(statistics)
        self._background.keep_running()

    def reopen(self) -> None:
        """Do nothing: the socket is no file that could be moved away."""

    def close(self) -> None:
        """Take the socket away."""
        listener = self._listener
        if listener is not None:
            with contextlib.suppress(OSError):  # The thread may close it just now.
                listener.shutdown(socket.SHUT_RDWR)
        self._background.finish(LAST_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        door = Door(self._path)
        while not stop.is_set():
            try:
                self._listener = door.open()
            except OSError as error:
                self._complain(error)
                stop.wait(RETRY_SECONDS)
                continue
            self._problem = ""
            try:
                self._serve(self._listener, stop)
            finally:
                door.close()

    def _serve(self, listener: socket.socket, stop: threading.Event) -> None:
        listener.settimeout(POLL_SECONDS)
        while not stop.is_set():
            try:
                visitor, _ = listener.accept()
                with visitor:
                    self._answer(visitor)
            except TimeoutError:
                continue
            except OSError:  # Who connected is gone, or no file can be opened now.
                stop.wait(POLL_SECONDS)

    def _answer(self, visitor: socket.socket) -> None:
        visitor.settimeout(ANSWER_SECONDS)
        told = json.dumps(document(self._vitals.snapshot()), allow_nan=False)
        visitor.sendall(told.encode("ascii") + b"\n")

    def _complain(self, error: OSError) -> None:
        if error.errno == errno.EADDRINUSE:
            problem = "another monitor answers there, or it is no socket"
        else:
            problem = error.strerror or str(error)
        if problem != self._problem:
            self._problem = problem
            logger.warning(
                "'status' cannot ask this monitor: %s: %s; set status.socket to "
                "another path",
                self._path,
                problem,
            )
