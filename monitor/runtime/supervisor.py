"""Supervision: the watchdog of all threads, and messages to the service manager.

The messages follow the protocol of sd_notify(3).
"""

import faulthandler
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence

from monitor.clock import Clock
from monitor.records import Event, Timed
from monitor.sinks.sink import Sink
from monitor.sinks.status_snapshot import Watchdog
from monitor.statistics import SourceStatistics, Statistics
from monitor.text import printable

logger = logging.getLogger(__name__)


_SEND_SECONDS = 1.0
"""A service manager that hangs must not block the monitor."""


class ServiceManager:
    """Sends messages to systemd; without $NOTIFY_SOCKET nothing is sent.

    Where no service manager watches, the process can end itself instead: a thread of
    the interpreter's, which waits for nothing else, prints the stack of every thread
    and exits with 1.  Used by the main thread.
    """

    def __init__(
        self,
        environ: MutableMapping[str, str] = os.environ,
        exit_seconds: float | None = None,
    ) -> None:
        """Take the address out of `environ`: child processes must not use it.

        `exit_seconds` is the longest silence before the process ends itself.
        """
        self._address = environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # abstract: a name without a file
            self._address = "\0" + self._address[1:]
        self._is_failing = False
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
        is_watched = microseconds.isdecimal() and pid == str(os.getpid())
        self._exit_seconds = exit_seconds
        limits = [exit_seconds] if exit_seconds is not None else []
        limits += [int(microseconds) / 1e6] if is_watched else []
        self.watchdog_seconds = min(limits, default=None)
        """Longest silence before the monitor ends; None: no watchdog."""

    def ready(self) -> None:
        """Report that the monitor works; also at the end of a reload."""
        self._send("READY=1")
        self._reset_exit()

    def status(self, sentence: str) -> None:
        """Report a sentence for people."""
        self._send(f"STATUS={printable(sentence)}")

    def alive(self) -> None:
        """Reset the watchdog."""
        self._send("WATCHDOG=1")
        self._reset_exit()

    def stopping(self) -> None:
        """Report that the monitor has begun to end, which has limits of its own."""
        self._send("STOPPING=1")
        if self._exit_seconds is not None:
            faulthandler.cancel_dump_traceback_later()

    def reloading(self) -> None:
        """Report that a reload begins; `ready` ends it."""
        # The clock that systemd compares with, whichever one the monitor goes by.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def _reset_exit(self) -> None:
        if self._exit_seconds is not None:
            # Descriptor 2 itself: the stream may belong to a thread that runs no more.
            faulthandler.dump_traceback_later(self._exit_seconds, file=2, exit=True)

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
                logger.warning("the service manager cannot be reached: %s", error)
            self._is_failing = True


STATUS_SECONDS = 5.0
"""Shortest time between two sentences to the service manager."""

Turns = Callable[[], Mapping[str, float]]
"""Time of the latest turn of each thread, monotonic seconds, by name."""


class Supervisor:
    """Resets the watchdog as long as every thread moves.

    It is reset only if all threads have moved since the last time.  So a monitor ends,
    and is started again, in which one capture or the worker hangs.  Used by the main
    thread.
    """

    def __init__(
        self,
        manager: ServiceManager,
        clock: Clock,
        turns: Turns,
        summary: Callable[[], str],
    ) -> None:
        """Watch the threads of `turns`; `summary` gives the sentence for people."""
        self._manager = manager
        self._clock = clock
        self._turns = turns
        self._summary = summary
        self._reset = self._sent = clock.monotonic()
        self._sentence = ""
        self._remark = ""
        self._has_complained = False

    def start(self) -> None:
        """Report that the monitor is ready: settings and model are valid."""
        self._reset = self._clock.monotonic()
        self._send_status("starting")
        self._manager.ready()

    def look(self) -> None:
        """Watch the threads, and send the status.  Call several times a second."""
        now = self._clock.monotonic()
        if self._manager.watchdog_seconds is not None:
            self._watch(now, self._manager.watchdog_seconds)
        if now - self._sent >= STATUS_SECONDS:
            self._send_status(self._summary())

    @property
    def watchdog(self) -> Watchdog | None:
        """State of the watchdog; None: there is none."""
        limit = self._manager.watchdog_seconds
        return None if limit is None else Watchdog(limit, self._reset)

    def reloading(self) -> None:
        """Report that a reload begins."""
        self._send_status("reloading the configuration")
        self._manager.reloading()

    def reloaded(self, remark: str) -> None:
        """Report the end of a reload; `remark` precedes the sentences after it."""
        self._remark = remark
        self._send_status(self._summary())
        self._manager.ready()

    def stop(self) -> None:
        """Report that the monitor has begun to end."""
        self._send_status("stopping")
        self._manager.stopping()

    def _watch(self, now: float, limit_seconds: float) -> None:
        waited = now - self._reset
        still = [name for name, turn in self._turns().items() if turn <= self._reset]
        if not still:
            if waited >= limit_seconds / 4:
                self._manager.alive()
                self._reset = now
            self._has_complained = False
        elif waited >= limit_seconds / 2 and not self._has_complained:
            self._has_complained = True
            logger.error(
                "%s did not move for %.1f s; after %.1f s the watchdog ends the "
                "monitor",
                " and ".join(still),
                waited,
                limit_seconds,
            )

    def _send_status(self, sentence: str) -> None:
        self._sent = self._clock.monotonic()
        sentence = "; ".join(part for part in (self._remark, sentence) if part)
        if sentence != self._sentence:
            self._sentence = sentence
            self._manager.status(sentence)


class Summary(Sink):
    """A sink that keeps the figures of one sentence."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.utc().astimezone()
        # Replaced as a whole: the worker's thread writes, the main thread reads.
        self._events = (self._began.date(), 0)
        self._latest: tuple[float, Statistics] | None = None

    def write(self, batch: Sequence[Timed]) -> None:
        """Count the events of today."""
        count = sum(isinstance(timed.record, Event) for timed in batch)
        if count:
            today = self._clock.utc().astimezone().date()
            day, before = self._events
            self._events = (today, count + (before if day == today else 0))

    def report(self, statistics: Statistics) -> None:
        """Keep the newest figures."""
        self._latest = self._clock.monotonic(), statistics

    def sentence(self) -> str:
        """A sentence about the monitor, for people.  Any thread."""
        if self._latest is None:
            return "starting"
        reported, statistics = self._latest
        latency = statistics.latency_seconds_p50
        age = self._clock.monotonic() - reported
        parts = [_sources(statistics, age), self._count()]
        if latency >= 0:  # not a number before the first window
            parts.append(f"latency {latency:.1f} s")
        return "; ".join(parts)

    def _count(self) -> str:
        today = self._clock.utc().astimezone().date()
        day, counted = self._events
        count = counted if day == today else 0
        since = "today" if self._began.date() != today else f"since {self._began:%H:%M}"
        return f"{count} event{'s' * (count != 1)} {since}"


def _sources(statistics: Statistics, age_seconds: float) -> str:
    """The number of sources that are listened to, and the names of the others."""
    listening = statistics.listening(age_seconds)
    missing = [
        f"{each.source} {_why_missing(each, statistics)}"
        for each in statistics.sources
        if not listening.get(each.source)
    ]
    count = len(statistics.sources)
    sentence = f"listening to {count - len(missing)} of {count} sources"
    return f"{sentence} ({', '.join(missing)})" if missing else sentence


def _why_missing(source: SourceStatistics, statistics: Statistics) -> str:
    if source.state != "listening":
        return source.state
    trouble = statistics.deafening(source.source)
    return "not analysed" if trouble is None else trouble.kind
