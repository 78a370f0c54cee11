"""The capture thread: keeps one source open, and its samples on the timeline."""

import contextlib
import logging
import threading
from collections.abc import Callable

from monitor.audio.conditioning import Stretch
from monitor.audio.dropouts import Losses, Pace
from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost, Source, SourceStream
from monitor.audio.timeline import Timeline
from monitor.config.audio import SourceSettings
from monitor.errors import EndOfSourceError, SoundMonitorError, SourceError
from monitor.records import GapReason

logger = logging.getLogger(__name__)

_READ_SECONDS = 0.2
"""So often the thread looks up from its source."""

_FASTEST = 1.001
"""No sound card's clock is so fast against the machine's."""

_FIRST_DELAY_SECONDS = 0.25
_LONGEST_DELAY_SECONDS = 1.0

_ABSENT_SECONDS = 60.0
_ABSENT_DELAY_SECONDS = 2.0
"""Between tries of a source that has been gone for long.

Each starts a process, so seldom is kind to a small machine.  But who plugs a microphone
in expects to be heard within three seconds, and there is no sign of it that holds for
ALSA, for a sound server and for a command alike: so it is tried, and no less often.
"""

_WORKING_SECONDS = 2.0
"""A source that was heard for so long is opened again without much delay."""

_HEALTHY_SECONDS = 60.0
"""Failures of a source that was heard for so long are news again."""


class _StalledError(SourceError):
    """A source is open, but delivers nothing."""


class Capture:
    """Moves samples from a source to its timeline until the source is over.

    A live source that delivers nothing for a while, ends or breaks is opened again, for
    ever; the time in which it was not heard is lost, by the clock.  A recording is
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

        Args:
            source: What is listened to.
            timeline: Takes its samples.
            settings: Of the source.
            now: Monotonic seconds.
            missing_since: When the timeline's next sample was sound, if the source was
                listened to before: what was missed since, while it was opened anew, is
                lost.  None: the timeline begins with the first sample that comes.
        """
        self.finished = threading.Event()
        """Set when a recording is over, or cannot be read any further."""

        self.failure: SoundMonitorError | None = None
        """Why a recording could not be played, or not to its end."""

        self.latest_turn = now()
        """When the thread last looked up from its source, monotonic seconds."""

        self.stall_seconds = settings.stall_seconds
        """See `SourceSettings`; may be changed by any thread."""

        self._source = source
        self._timeline = timeline
        self._now = now
        self._losses = Losses(timeline)
        self._troubles = _Troubles(timeline)
        self._missing_since = missing_since
        self._began = now()
        self._filled_until = (
            self._began
        )  # the moment for which the timeline's end stands
        self._lost_for: GapReason | None = None  # None: nothing is being lost

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop` is set or a recording is over.  The capture thread."""
        self._timeline.state("opening", self._source.description)
        self._began = self._filled_until = self._now()
        if self._source.live and self._missing_since is not None:
            self._began = self._filled_until = self._missing_since
            self._lost_for = "reloaded"
        if self._source.live:
            self._listen(stop)
        else:
            self._play(stop)

    def _play(self, stop: threading.Event) -> None:
        detail = f"{self._source.description} is over"
        try:
            with contextlib.closing(self._source.open()) as stream:
                self._follow(stream, stop, lambda count: self._wait(count, stop))
        except EndOfSourceError:
            pass
        except SoundMonitorError as error:
            self.failure = error
            detail = str(error)
            logger.error("source %r: %s", self._timeline.name, error)
        self._losses.settle()
        if not stop.is_set():
            self._timeline.state("ended", detail)
            self.finished.set()

    def _wait(self, count: int, stop: threading.Event) -> bool:
        self.latest_turn = self._now()
        return self._timeline.wait_for_room(count, stop)

    def _listen(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with contextlib.closing(self._source.open()) as stream:
                    self._follow(stream, stop, lambda _count: True)
            except (SourceError, EndOfSourceError) as error:
                self._count_lost(self._now(), self._reason_of(error))
                stop.wait(self._troubles.add(str(error), self._now()))
                self.latest_turn = self._now()
        if self._lost_for is not None:
            self._count_lost(self._now(), self._lost_for)
        self._losses.settle()

    def _follow(
        self,
        stream: SourceStream,
        stop: threading.Event,
        make_room: Callable[[int], bool],
    ) -> None:
        """Move samples until `stop` is set or `stream` raises."""
        stretch: Stretch | None = None
        heard = self._now()
        try:
            while not stop.is_set():
                if self._is_too_fast():
                    if stretch is not None:
                        stretch.hold_back()
                    stop.wait(_READ_SECONDS)
                    heard = self.latest_turn = self._now()
                    continue
                block = stream.read(_READ_SECONDS)
                now = self.latest_turn = self._now()
                if block is None:
                    self._check_silence(now, heard, opening=stretch is None)
                    continue
                if stretch is None:
                    stretch = self._begin(stream, block, now, make_room)
                if isinstance(block, Lost):
                    stretch.lose(block.count, "overrun", now)
                else:
                    stretch.push(block, now)
                heard = now
                self._filled_until = stretch.heard_until(now)
        finally:
            if stretch is not None:
                stretch.flush(self._now())

    def _check_silence(self, now: float, heard: float, *, opening: bool) -> None:
        if opening and self._lost_for is not None:
            self._count_lost(now, self._lost_for)
        limit = self._source.opening_seconds if opening else self.stall_seconds
        if self._source.live and now - heard >= limit:
            raise _StalledError(
                f"{self._source.description} delivered nothing for {limit:.1f} s"
            )

    def _is_too_fast(self) -> bool:
        """Whether a live source is so far ahead of time that it cannot be live.

        A program that decodes a recording, say.  Left in its pipe, it waits; otherwise
        the ring would overflow.  What came late and all at once, from a network, may be
        ahead by half a ring.
        """
        rate = self._timeline.sample_rate
        possible = (self._now() - self._began) * _FASTEST
        ahead = (self._timeline.stop - self._timeline.start) / rate - possible
        return self._source.live and ahead > self._timeline.capacity / rate / 2

    def _begin(
        self,
        stream: SourceStream,
        block: Samples | Lost,
        now: float,
        make_room: Callable[[int], bool],
    ) -> Stretch:
        """Begin a stretch with `block`, which has just come: it began earlier."""
        if self._lost_for is not None:
            count = block.count if isinstance(block, Lost) else block.shape[1]
            self._count_lost(now - count / stream.sample_rate, self._lost_for)
            self._lost_for = None
            self._losses.settle()
        self._troubles.are_over(
            f"{self._source.description}, {stream.sample_rate} Hz, "
            f"{stream.channels} channel{'s' * (stream.channels > 1)}",
            now,
        )
        self._timeline.source_rate = stream.sample_rate
        return Stretch(
            self._timeline,
            self._losses,
            sample_rate=stream.sample_rate,
            channels=stream.channels,
            make_room=make_room,
            pace=Pace(stream.sample_rate, self.stall_seconds)
            if self._source.live
            else None,
        )

    def _reason_of(self, error: Exception) -> GapReason:
        """Why the samples up to now were lost; from now on, for the same reason.

        Until it is clear that the source cannot be opened at once.
        """
        if self._troubles.listening_since is None:
            return "unplugged"
        return "stalled" if isinstance(error, _StalledError) else "ended"

    def _count_lost(self, until: float, reason: GapReason) -> None:
        """Count as lost what should have come since the timeline ended."""
        rate = self._timeline.sample_rate
        count = max(0, round((until - self._filled_until) * rate))
        self._filled_until += count / rate
        self._lost_for = reason
        self._losses.add(count, reason)


class _Troubles:
    """What is said of a source that fails again and again, and how long to wait."""

    def __init__(self, timeline: Timeline) -> None:
        self.listening_since: float | None = None
        """When the source was first heard after its latest failure; None before."""

        self._timeline = timeline
        self._attempts = 0
        self._began = 0.0
        self._told: set[str] = set()
        self._recovery_is_news = False
        self._detail = ""

    def add(self, sentence: str, now: float) -> float:
        """Take note of a failure; return the seconds to wait before the next try."""
        was_heard = self.listening_since is not None
        heard_seconds = now - (self.listening_since or now)
        if heard_seconds >= _WORKING_SECONDS:
            self._attempts = 0
        if heard_seconds >= _HEALTHY_SECONDS:
            self._told.clear()
        if was_heard or self._attempts == 0:
            self._began = now
        self._attempts += 1
        if sentence not in self._told:
            self._told.add(sentence)
            self._recovery_is_news = True
            logger.warning(
                "source %r: %s; it is opened again until it is heard",
                self._timeline.name,
                sentence,
            )
        if was_heard or sentence != self._detail:
            self._timeline.state("waiting", sentence)
        self._detail = sentence
        self.listening_since = None
        if now - self._began >= _ABSENT_SECONDS:
            return _ABSENT_DELAY_SECONDS
        delay = _FIRST_DELAY_SECONDS * 2.0 ** min(self._attempts - 1, 10)
        return min(delay, _LONGEST_DELAY_SECONDS)

    def are_over(self, detail: str, now: float) -> None:
        """Take note that the source is heard."""
        self.listening_since = now
        self._timeline.state("listening", detail)
        if self._recovery_is_news:
            self._recovery_is_news = False
            logger.info(
                "source %r is heard again after %.1f s (attempt %d)",
                self._timeline.name,
                now - self._began,
                self._attempts,
            )
