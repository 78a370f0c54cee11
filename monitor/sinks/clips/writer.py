"""Writes clips on a thread of its own, and keeps the limits of their folder."""

import logging
import queue
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from monitor.config.clips import ClipSettings
from monitor.sinks.background import Background
from monitor.sinks.clips.clip import Clip
from monitor.sinks.clips.folder import clean, has_room, prepare, save

logger = logging.getLogger(__name__)

MOST_WAITING = 4
"""Clips in memory, of some megabytes each; what is more is left out."""

POLL_SECONDS = 0.1
CLEAN_EVERY = timedelta(hours=1)
LAST_SECONDS = 0.5
"""Time at the end for the clips that wait."""


class Writer:
    """Takes clips from the worker without ever keeping it waiting."""

    def __init__(
        self, folder: Path, settings: ClipSettings, utc: Callable[[], datetime]
    ) -> None:
        """Prepare; the folder is made before the first clip.

        Args:
            folder: Where clips go.
            settings: With the limits.
            utc: The clock on the wall.
        """
        self._folder = folder
        self._settings = settings
        self._utc = utc
        self._waiting: queue.Queue[Clip] = queue.Queue(MOST_WAITING)
        self._background = Background("clips", self._run)
        self._left_out = 0
        self._problem = ""
        self._cleaned: datetime | None = None

    def keep_running(self) -> None:
        """Start the thread, or raise what has ended it.  Worker thread."""
        self._background.keep_running()

    def add(self, clip: Clip) -> None:
        """Have a clip written, or left out if too many wait.  Worker thread."""
        try:
            self._waiting.put_nowait(clip)
        except queue.Full:
            if not self._left_out:
                logger.warning(
                    "clips are left out: %d wait to be written", MOST_WAITING
                )
            self._left_out += 1

    @property
    def waiting(self) -> int:
        """Clips that are not written yet."""
        return self._waiting.qsize()

    def finish(self) -> None:
        """Write what waits, if that is quick.  Worker thread."""
        self._background.finish(LAST_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        # Not of a lower priority than the others: while it waited for the processor it
        # could hold the lock of the interpreter, and the worker would wait with it.
        while True:
            try:
                clip = self._waiting.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if stop.is_set():
                    return
                clip = None
            try:
                self._work(clip)
            except OSError as error:
                self._say(f"{self._folder}: {error.strerror or error}")

    def _work(self, clip: Clip | None) -> None:
        if clip is not None:
            prepare(self._folder)
            if not has_room(self._folder, self._settings):
                least = self._settings.min_free_mib
                self._say(f"the disk has less than {least:g} MiB left")
                return
            self._save(clip)
        now = self._utc()
        due = self._cleaned is None or not (
            timedelta(0) <= now - self._cleaned < CLEAN_EVERY
        )
        if clip is not None or due:
            self._cleaned = now
            clean(self._folder, self._settings, now)

    def _save(self, clip: Clip) -> None:
        sound = save(self._folder, clip)
        if sound is None:
            return
        logger.info("clip %s%s", sound.name, f" ({clip.cut})" if clip.cut else "")
        if self._problem:
            logger.info("clips are stored again, after %d left out", self._left_out)
        self._problem, self._left_out = "", 0

    def _say(self, problem: str) -> None:
        """Say a problem once, count what it costs."""
        self._left_out += 1
        if problem != self._problem:
            logger.error("clips cannot be stored: %s", problem)
        self._problem = problem
