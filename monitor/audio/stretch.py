"""One uninterrupted run of a source: from what it delivers to what the feed takes."""

import logging
from collections.abc import Callable

from monitor.audio.channels import DeadChannelGuard, adapt
from monitor.audio.feed import Feed
from monitor.audio.health_cells import CellMeter, Vitals
from monitor.audio.losses import Losses
from monitor.audio.pace import Pace
from monitor.audio.resample import StreamResampler
from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost
from monitor.audio.validity import ValidityGate
from monitor.records import GapReason

logger = logging.getLogger(__name__)


class Stretch:
    """Brings the blocks of one stream to the model's rate and to one or two channels.

    The position in the feed follows the position in the stream, lost samples included,
    whatever the resampler rounds.  Used by the capture thread.
    """

    def __init__(
        self,
        feed: Feed,
        losses: Losses,
        *,
        sample_rate: int,
        channels: int,
        make_room: Callable[[int], bool],
        pace: Pace | None = None,
    ) -> None:
        """Begin a stretch at the end of `feed`.

        Args:
            feed: Where the samples go.
            losses: Where lost samples go; settled whenever sound follows.
            sample_rate: Of the stream.
            channels: Of the stream.
            make_room: Waits until so many samples can be written; False if they are
                not wanted any more.
            pace: Finds what a live stream lost without a word.
        """
        self._feed = feed
        self._losses = losses
        self._rate = sample_rate
        self._channels = min(channels, 2)
        self._make_room = make_room
        self._pace = pace
        self._gate = ValidityGate(sample_rate)
        self._guard = DeadChannelGuard(feed.sample_rate, feed.name)
        self._resampler: StreamResampler | None = None
        self._arrived = 0  # samples of the stream, delivered or lost
        self._placed = 0  # samples of the feed that stand for them so far
        self._told_invalid = False
        self._told_missing = False
        self._begin = feed.stop
        self._cells = CellMeter(sample_rate, self._channels)
        self._measured = 0  # samples of the stream before the cell that is being filled

    def push(self, block: Samples, now: float) -> None:
        """Take the next block of the stream, any size, shape (channels, n)."""
        self._lose_missing(block.shape[1], now)
        for part in self._gate.push(adapt(block)):
            if isinstance(part, Lost):
                self._tell_invalid()
                self._lose(part.count, "invalid", now)
            else:
                if self._resampler is None:
                    self._feed.open(self._channels)
                    self._resampler = StreamResampler(
                        self._rate, self._feed.sample_rate, self._channels
                    )
                self._arrived += part.shape[1]
                self._measure(part)
                self._write(self._resampler.push(part), now)

    def lose(self, count: int, reason: GapReason, now: float) -> None:
        """Lose the next `count` samples of the stream."""
        self._lose_missing(count, now)
        self._lose(count, reason, now)

    def heard_until(self, now: float) -> float:
        """When the newest sample was sound, if it came at `now`, monotonic seconds."""
        return now if self._pace is None else self._pace.heard_until(now)

    def hold_back(self) -> None:
        """Take note that the stream has to wait: when it comes says nothing."""
        if self._pace is not None:
            self._pace.restart()

    def _lose_missing(self, count: int, now: float) -> None:
        """Lose what did not come before the next `count` samples, and should have."""
        missing = 0 if self._pace is None else self._pace.missing(count, now)
        if missing:
            self._tell_missing(missing / self._rate)
            self._lose(missing, "stalled", now)

    def _lose(self, count: int, reason: GapReason, now: float) -> None:
        self.flush(now)
        self._arrived += count
        self._cells = CellMeter(self._rate, self._channels)
        self._measured = self._arrived
        position = self._placed_at(self._arrived) - self._begin
        missing = max(0, position - self._placed)
        self._placed += missing
        self._losses.add(missing, reason)

    def flush(self, now: float) -> None:
        """Write what is still in the resampler: no sound follows directly."""
        if self._resampler is not None:
            self._write(self._resampler.finish(), now)
            self._resampler = None

    def _measure(self, samples: Samples) -> None:
        for channels in self._cells.push(samples):
            first, self._measured = self._measured, self._measured + self._cells.samples
            start, stop = self._placed_at(first), self._placed_at(self._measured)
            self._feed.vitals.put(Vitals(start, stop, channels))

    def _placed_at(self, index: int) -> int:
        """Where a sample of the stream lies in the feed."""
        return self._begin + round(index * self._feed.sample_rate / self._rate)

    def _tell_missing(self, seconds: float) -> None:
        if not self._told_missing:
            self._told_missing = True
            logger.warning(
                "source %r lost %.2f s of sound without a word; that is a gap, and so "
                "is what it loses from now on",
                self._feed.name,
                seconds,
            )

    def _tell_invalid(self) -> None:
        if not self._told_invalid:
            self._told_invalid = True
            logger.warning(
                "source %r delivers samples that are no sound, not finite or absurdly "
                "loud; they count as lost (is its sample_format right?)",
                self._feed.name,
            )

    def _write(self, samples: Samples, now: float) -> None:
        count = samples.shape[1]
        if count == 0:
            return
        self._placed += count
        if self._make_room(count):
            self._losses.settle()
            self._feed.write(self._guard.push(samples), now)
