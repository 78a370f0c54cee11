"""The capture thread: keeps one source open, and its samples on the timeline."""

import contextlib
import logging
import threading
from collections.abc import Callable

from monitor.audio.arrival_rate import ArrivalRate
from monitor.audio.conditioning import Conditioner
from monitor.audio.dropouts import DropoutDetector, GapJoiner
from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost, Source, SourceStream
from monitor.audio.timeline import Timeline
from monitor.config.audio import SourceSettings
from monitor.errors import EndOfSourceError, SoundMonitorError, SourceError
from monitor.records import GapReason

logger = logging.getLogger(__name__)

_READ_SECONDS = 0.2
"""Longest wait for samples, between two checks of the stop event."""

_FASTEST = 1.001
"""Above the rate of any sound card's clock, relative to the machine's."""

_FIRST_DELAY_SECONDS = 0.25
_LONGEST_DELAY_SECONDS = 1.0

_ABSENT_SECONDS = 60.0
_ABSENT_DELAY_SECONDS = 2.0
"""Delay between attempts to open a source that is absent for `_ABSENT_SECONDS`.

Each starts a process, which is costly on a small machine.  But a microphone that is
plugged in should be captured within three seconds, and there is no sign of it that
holds for ALSA, for a sound server and for a command alike.
"""

_WORKING_SECONDS = 2.0
"""Time of delivery after which the first delay applies again."""

_HEALTHY_SECONDS = 60.0
"""Time of delivery after which failures are logged again."""


class Capture:
    """Moves samples from a source to its timeline until the source has ended.

    A live source that delivers nothing for a while, ends or breaks is opened again, for
    ever; the time in which it did not deliver is lost, by the clock.  A recording is
    played once.
    """

    def __init__(
        self,
        source: Source,
        timeline: Timeline,
        settings: SourceSettings,
        now: Callable[[], float],
        *,
        missing_since: float | None = None,
    ) -> None:
        """Connect `source` to `timeline`.

        `missing_since` is the time at which the timeline's next sample should have been
        captured, if the source was captured before: the samples since then are lost.
        None: the timeline begins with the first sample that comes.
        """
        self.finished = threading.Event()
        """Set when a recording is over, or cannot be read any further."""

        self.failure: SoundMonitorError | None = None
        """Error that kept a recording from being played to its end."""

        self.latest_turn = now()
        """Time of the latest return from the source, monotonic seconds."""

        self._source = source
        self._is_live = settings.is_live
        self._stall_seconds = settings.stall_seconds or source.stall_seconds
        self._timeline = timeline
        self._now = now
        self._gaps = GapJoiner(timeline)
        self._retries = _Retries(timeline)
        self._missing_since = missing_since
        self._stop = threading.Event()  # until `run` gets another
        self._began = now()
        self._filled_until = self._began  # moment of the timeline's end
        self._lost_for: GapReason | None = None  # None: nothing is being lost
        self._is_hold_back_logged = self._is_rate_logged = False
        # Of the stream that is open.
        self._is_speed_shown = self._is_hold_back_shown = False
        kind = settings.input.partition(":")[0]
        self._is_rate_set = kind in ("udp", "command") or bool(settings.sample_rate)

    def run(self, stop: threading.Event) -> None:
        """Capture until `stop` is set or a recording is over.  The capture thread."""
        self._stop = stop
        self._timeline.state("opening", self._source.description)
        self._began = self._filled_until = self._now()
        if not self._is_live:
            self._play()
            return
        if self._missing_since is not None:
            self._began = self._filled_until = self._missing_since
            self._lost_for = "reloaded"
        self._keep_open()

    def _play(self) -> None:
        detail = f"{self._source.description} is over"
        try:
            with contextlib.closing(self._source.open()) as stream:
                self._follow(stream)
        except EndOfSourceError:
            pass
        except SoundMonitorError as error:
            self.failure = error
            detail = str(error)
            logger.error("source %r: %s", self._timeline.name, error)
        self._gaps.flush()
        if not self._stop.is_set():
            self._timeline.state("ended", detail)
            self.finished.set()

    def _keep_open(self) -> None:
        while not self._stop.is_set():
            try:
                with contextlib.closing(self._source.open()) as stream:
                    self._follow(stream)
            except (SourceError, EndOfSourceError) as error:
                self._count_lost(self._now(), self._reason_of(error))
                delay = self._retries.add_failure(str(error), self._now())
                least = error.retry_seconds if isinstance(error, SourceError) else 0.0
                self._wait(max(delay, least))
        if self._lost_for is not None:
            self._count_lost(self._now(), self._lost_for)
        self._gaps.flush()

    def _wait(self, seconds: float) -> None:
        """Wait before the next attempt; what is lost meanwhile is counted."""
        until = self._now() + seconds
        while not self._stop.is_set() and (left := until - self._now()) > 0:
            self._stop.wait(min(left, _LONGEST_DELAY_SECONDS))
            self.latest_turn = self._now()
            if self._lost_for is not None and self._now() < until:
                self._count_lost(self._now(), self._lost_for)

    def _follow(self, stream: SourceStream) -> None:
        """Move samples until the stop event is set or `stream` raises."""
        conditioner: Conditioner | None = None
        rate: ArrivalRate | None = None
        form = (0, 0, "")
        delivered = self._now()
        try:
            while not self._stop.is_set():
                if self._is_too_fast():
                    self._warn_of_speed()
                    if conditioner is not None:
                        conditioner.hold_back()
                    rate = None
                    self._stop.wait(_READ_SECONDS)
                    delivered = self.latest_turn = self._now()
                    continue
                block = stream.read(_READ_SECONDS)
                now = self.latest_turn = self._now()
                if block is None:
                    self._check_silence(now, delivered, opening=conditioner is None)
                    continue
                newest = stream.sample_rate, stream.channels, self._source.description
                if conditioner is None or form != newest:
                    if conditioner is not None:  # a program may change the format
                        conditioner.flush(now)
                    conditioner = self._begin(stream, block, now)
                    form = newest
                    rate = None
                if isinstance(block, Lost):
                    count = block.count
                    conditioner.lose(count, block.reason, now)
                else:
                    count = block.shape[1]
                    conditioner.push(block, now)
                rate = rate or ArrivalRate(stream.sample_rate)
                self._check_rate(stream, rate.push(count, now))
                delivered = now
                self._filled_until = conditioner.captured_at(now)
        finally:
            if conditioner is not None:
                conditioner.flush(self._now())

    def _check_silence(self, now: float, delivered: float, *, opening: bool) -> None:
        if opening and self._lost_for is not None:
            self._count_lost(now, self._lost_for)
        limit = self._source.opening_seconds if opening else self._stall_seconds
        if self._is_live and now - delivered >= limit:
            # Without a number: it is the same fault when the source is open anew.
            sentence = f"{self._source.description} delivered nothing"
            raise SourceError(sentence, is_stall=True)

    def _is_too_fast(self) -> bool:
        """Return True if a live source is so far ahead of time that it cannot be live.

        An example is a program that decodes a recording: not read, it waits; read, it
        would overflow the ring.  A network that delivers late and all at once may be
        ahead by half a ring.
        """
        rate = self._timeline.sample_rate
        possible = (self._now() - self._began) * _FASTEST
        ahead = (self._timeline.stop - self._timeline.start) / rate - possible
        return self._is_live and ahead > self._timeline.capacity / rate / 2

    def _warn_of_speed(self) -> None:
        """Show that a live source delivers too much, and log it once."""
        if not self._is_hold_back_shown:
            self._is_hold_back_shown = self._is_speed_shown = True
            detail = "delivers more than real time and is held back"
            self._timeline.state("listening", f"{self._source.description} {detail}")
        if not self._is_hold_back_logged:
            self._is_hold_back_logged = True
            seconds = (self._timeline.stop - self._timeline.start) / (
                self._timeline.sample_rate
            )
            logger.warning(
                "source %r delivered %.1f s of sound in %.1f s and is held back; "
                "unless it plays a recording, its sample_rate or format is wrong",
                self._timeline.name,
                seconds,
                self._now() - self._began,
            )

    def _check_rate(self, stream: SourceStream, measured: int | None) -> None:
        """Show that samples come at another rate than is set, and log it once."""
        if measured is None or not self._is_rate_set or self._is_speed_shown:
            return
        self._is_speed_shown = True
        heard = f"{stream.sample_rate} Hz, but {measured} samples a second arrive"
        self._timeline.state("listening", f"{self._source.description}, {heard}")
        if self._is_rate_logged:
            return
        self._is_rate_logged = True
        logger.warning(
            "source %r is heard at %s: unless sound is lost on the way, its "
            "sample_rate is wrong",
            self._timeline.name,
            heard,
        )

    def _begin(
        self, stream: SourceStream, block: Samples | Lost, now: float
    ) -> Conditioner:
        """Begin with the first block of a stream; its samples are older than `now`."""
        rate = stream.sample_rate
        if self._lost_for is not None:
            count = block.count if isinstance(block, Lost) else block.shape[1]
            self._count_lost(now - count / rate, self._lost_for)
            self._lost_for = None
            self._gaps.flush()
        channels = f"{stream.channels} channel{'s' * (stream.channels > 1)}"
        detail = f"{self._source.description}, {rate} Hz, {channels}"
        self._retries.add_success(detail, now)
        self._is_speed_shown = self._is_hold_back_shown = False
        self._timeline.source_rate = rate
        return Conditioner(
            self._timeline,
            self._gaps,
            sample_rate=rate,
            channels=stream.channels,
            make_room=self._make_room,
            dropouts=DropoutDetector(rate, self._stall_seconds)
            if self._is_live
            else None,
            detail=detail if self._is_live else "",
        )

    def _make_room(self, count: int) -> bool:
        """Let a recording wait for its reader; a live source never waits."""
        if self._is_live:
            return True
        self.latest_turn = self._now()
        return self._timeline.wait_for_room(count, self._stop)

    def _reason_of(self, error: Exception) -> GapReason:
        """Return the reason of the loss until the source cannot be opened again."""
        is_stall = isinstance(error, SourceError) and error.is_stall
        if is_stall and self._lost_for == "stalled":
            return "stalled"  # still
        if self._retries.delivering_since is None:
            return "unplugged"
        return "stalled" if is_stall else "ended"

    def _count_lost(self, until: float, reason: GapReason) -> None:
        """Lose the samples that should have come since the timeline's end."""
        rate = self._timeline.sample_rate
        count = max(0, round((until - self._filled_until) * rate))
        self._filled_until += count / rate
        self._lost_for = reason
        self._gaps.add(count, reason)


class _Retries:
    """Delays and log lines of a source that fails again and again."""

    def __init__(self, timeline: Timeline) -> None:
        self.delivering_since: float | None = None
        """Time of the first samples after the latest failure; None before them."""

        self._timeline = timeline
        self._attempts = 0
        self._began = 0.0
        self._logged: set[str] = set()
        self._log_recovery = False
        self._detail = ""

    def add_failure(self, sentence: str, now: float) -> float:
        """Log a failure; return the seconds to wait before the next attempt."""
        was_delivering = self.delivering_since is not None
        seconds = now - (self.delivering_since or now)
        if seconds >= _WORKING_SECONDS:
            self._attempts = 0
        if seconds >= _HEALTHY_SECONDS:
            self._logged.clear()
        if was_delivering or self._attempts == 0:
            self._began = now
        self._attempts += 1
        if sentence not in self._logged:
            self._logged.add(sentence)
            self._log_recovery = True
            logger.warning(
                "source %r: %s; reopening until it delivers again",
                self._timeline.name,
                sentence,
            )
        if was_delivering or sentence != self._detail:
            self._timeline.state("waiting", sentence)
        self._detail = sentence
        self.delivering_since = None
        if now - self._began >= _ABSENT_SECONDS:
            return _ABSENT_DELAY_SECONDS
        delay = _FIRST_DELAY_SECONDS * 2.0 ** min(self._attempts - 1, 10)
        return min(delay, _LONGEST_DELAY_SECONDS)

    def add_success(self, detail: str, now: float) -> None:
        """Log that the source delivers."""
        self.delivering_since = now
        self._timeline.state("listening", detail)
        if self._log_recovery:
            self._log_recovery = False
            logger.info(
                "source %r delivers again after %.1f s (attempt %d)",
                self._timeline.name,
                now - self._began,
                self._attempts,
            )
