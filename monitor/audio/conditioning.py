"""One uninterrupted run of a source: from what it delivers to what the timeline takes.

Any number of channels, made into one or two; a dead one of two is left out.

A stream of samples at one rate, made into a stream at another.

Keeps what is not sound out of the pipeline: NaN, infinity, absurd amplitudes.
"""

import logging
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import soxr

from monitor.audio.channel_statistics import CellMeter, Vitals
from monitor.audio.dropouts import Losses, Pace
from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost
from monitor.audio.timeline import Timeline
from monitor.records import GapReason

logger = logging.getLogger(__name__)


_LOG = logging.getLogger(__name__)

_CELL_SECONDS = 0.5
"""Channels are compared over stretches of this length."""

_CELLS_UNTIL_DEAD = 6
_CELLS_UNTIL_ALIVE = 2

_DEAD_DB = -50.0
"""Below this level re the other one a channel is dead: crosstalk of an open input."""

_ALIVE_DB = -40.0
"""Above this level re the other one it lives; higher, so that it does not flap."""

_FAINT_DBFS = -80.0
"""Below this level the louder channel says nothing about the other one."""


def adapt(block: Samples) -> Samples:
    """Keep one or two channels: of more than two, the first two.

    What the others carry is unknown: loudspeaker feedback, a second array, nothing.

    Args:
        block: float32, shape (channels, n).

    Returns:
        A view of the same samples, shape (1 or 2, n).
    """
    return block[:2]


class DeadChannelGuard:
    """Replaces a dead channel of a stereo stream by the living one.

    A microphone of one capsule behind a stereo plug delivers one silent channel, which
    a network trained on two would take for a strange room.  A channel is dead that has
    stayed 50 dB below the other for three seconds, and lives again when it has come
    within 40 dB of it for one.  The channels are compared over stretches of half a
    second, counted from the first sample: what comes out does not depend on the sizes
    of the blocks, nor does any sample wait for its stretch to be over.  A stretch in
    which both are silent changes nothing.  Not thread-safe.
    """

    def __init__(self, sample_rate: int, source: str = "") -> None:
        """Begin a stream; `source` is its name for the log."""
        self._cell = np.zeros((2, round(_CELL_SECONDS * sample_rate)), np.float32)
        self._filled = 0
        self._dead: int | None = None
        self._suspect = 0
        self._streak = 0
        self._source = source

    @property
    def dead(self) -> int | None:
        """The channel that is left out now, if any."""
        return self._dead

    def push(self, block: Samples) -> Samples:
        """Take the samples that follow; return as many, of channels that live.

        Args:
            block: float32, shape (1 or 2, n), finite.

        Returns:
            float32, shape (1 or 2, n): `block` itself when no channel is dead.
        """
        if block.shape[0] == 1:
            return block
        output = block
        start = 0
        while start < block.shape[1]:
            count = min(block.shape[1] - start, self._cell.shape[1] - self._filled)
            if self._dead is not None:
                output = block.copy() if output is block else output
                part = slice(start, start + count)
                output[self._dead, part] = block[1 - self._dead, part]
            self._compare(block[:, start : start + count])
            start += count
        return output

    def _compare(self, part: Samples) -> None:
        """Collect samples that do not reach beyond the cell; judge it when it is full.

        The cell is kept, not its energy so far: a sum in other pieces is rounded
        otherwise, and the verdict would depend on the sizes of the blocks.
        """
        stop = self._filled + part.shape[1]
        self._cell[:, self._filled : stop] = part
        self._filled = stop % self._cell.shape[1]
        if self._filled == 0:
            power = np.mean(np.square(self._cell, dtype=np.float64), axis=1)
            levels = 10 * np.log10(power + 1e-30)  # digital silence: -300 dB
            if levels.max() >= _FAINT_DBFS:
                self._judge(float(levels[1] - levels[0]))

    def _judge(self, difference_db: float) -> None:
        """Count the cells that speak for a change; `difference_db` is right re left."""
        if self._dead is None:
            quieter = int(difference_db < 0)
            if quieter != self._suspect:
                self._suspect, self._streak = quieter, 0
            speaks_for_change = -abs(difference_db) <= _DEAD_DB
            needed = _CELLS_UNTIL_DEAD
        else:
            level_db = difference_db if self._dead == 1 else -difference_db
            speaks_for_change = level_db >= _ALIVE_DB
            needed = _CELLS_UNTIL_ALIVE
        self._streak = self._streak + 1 if speaks_for_change else 0
        if self._streak == needed:
            self._streak = 0
            self._dead = self._suspect if self._dead is None else None
            self._tell()

    def _tell(self) -> None:
        channel = self._suspect + 1
        if self._dead is None:
            _LOG.warning(
                "source %r: channel %d is back; both are heard again",
                self._source,
                channel,
            )
        else:
            _LOG.warning(
                "source %r: channel %d is dead (over %.0f dB below the other "
                "for %.1f s); it is left out",
                self._source,
                channel,
                -_DEAD_DB,
                _CELLS_UNTIL_DEAD * _CELL_SECONDS,
            )


# From 48 to 44.1 kHz in blocks of 10 ms, HQ costs 0.75 ms of one x86 core for a second
# of mono and 0.91 for stereo, MQ 0.73 and 0.84: most of it is the call.  For so little
# HQ is flat to 20 kHz within 0.01 dB (MQ: 0.2 dB) and keeps what folds back at
# -135 dB (MQ: -112), at the price of 17 ms of delay instead of 8.
_QUALITY = "HQ"


class StreamResampler:
    """Resamples a stream block by block, as if it came in one piece.

    What comes out does not depend on how the stream is cut into blocks: soxr keeps its
    filter's state between them.  The output lags by the filter's length; its first
    sample stands for the first sample of the input.  Not thread-safe.
    """

    def __init__(self, input_rate: int, output_rate: int, channels: int) -> None:
        self._channels = channels
        self._stream = (
            None
            if input_rate == output_rate
            else soxr.ResampleStream(
                input_rate, output_rate, channels, dtype="float32", quality=_QUALITY
            )
        )
        self._finished = False

    def push(self, block: Samples) -> Samples:
        """Take the samples that follow; return those that are ready.

        Args:
            block: float32, shape (channels, n), finite, any n.

        Returns:
            float32, shape (channels, m); m may be 0.  At equal rates `block` itself.

        Raises:
            ValueError: The block has other channels, or `finish` came first.
        """
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise ValueError(
                f"a block of shape {block.shape} for a resampler of "
                f"{self._channels} channels"
            )
        if self._finished:
            raise ValueError("a block after the end of the stream")
        return self._process(block, last=False)

    def finish(self) -> Samples:
        """End the stream; return the samples that were still in the filter.

        With them the output is as long as the input, to half a sample of the output.
        """
        last, self._finished = not self._finished, True
        rest = np.empty((self._channels, 0), np.float32)
        return self._process(rest, last=True) if last else rest

    def _process(self, block: Samples, last: bool) -> Samples:
        if self._stream is None:
            return block
        interleaved = np.ascontiguousarray(block.T)  # (n, channels), as soxr wants it
        output = self._stream.resample_chunk(interleaved, last=last)
        return np.ascontiguousarray(output.T)


_MOST_AMPLITUDE = 100.0
"""40 dB beyond full scale: bytes read as floats that are none, or a broken driver."""

_QUARANTINE_SECONDS = 0.5


class ValidityGate:
    """Takes invalid samples out of a stream, and what follows them too soon.

    Who delivers garbage is believed again after half a second of numbers.  Otherwise a
    source in the wrong format, in which some samples look like numbers by chance, would
    be a thousand gaps a second.  Not thread-safe.
    """

    def __init__(self, sample_rate: int) -> None:
        self._quarantine = round(_QUARANTINE_SECONDS * sample_rate)
        self._clear = self._quarantine  # samples since the last invalid one

    def push(self, block: Samples) -> list[Samples | Lost]:
        """Divide the samples that follow into what is sound and what is lost, in order.

        Whether a sample is lost does not depend on the sizes of the blocks.

        Args:
            block: float32, shape (channels, n), any n; a sample is lost if it is
                invalid in any channel.
        """
        count = block.shape[1]
        if count == 0:
            return []
        # A comparison with NaN is false: one pass for all that can be wrong.
        if self._clear == self._quarantine and np.abs(block).max() <= _MOST_AMPLITUDE:
            return [block]
        valid = (np.abs(block) <= _MOST_AMPLITUDE).all(axis=0)
        index = np.arange(count)
        latest_invalid = np.maximum.accumulate(np.where(valid, -self._clear - 1, index))
        clear = index - latest_invalid
        self._clear = min(int(clear[-1]), self._quarantine)
        lost = clear <= self._quarantine
        edges = [0, *(np.flatnonzero(np.diff(lost)) + 1), count]
        return [
            Lost(int(stop - start)) if lost[start] else block[:, start:stop]
            for start, stop in pairwise(edges)
        ]


class Stretch:
    """Brings the blocks of one stream to the model's rate and to one or two channels.

    The position in the timeline follows the position in the stream, lost samples
    included, whatever the resampler rounds.  Used by the capture thread.
    """

    def __init__(
        self,
        timeline: Timeline,
        losses: Losses,
        *,
        sample_rate: int,
        channels: int,
        make_room: Callable[[int], bool],
        pace: Pace | None = None,
    ) -> None:
        """Begin a stretch at the end of `timeline`.

        Args:
            timeline: Where the samples go.
            losses: Where lost samples go; settled whenever sound follows.
            sample_rate: Of the stream.
            channels: Of the stream.
            make_room: Waits until so many samples can be written; False if they are
                not wanted any more.
            pace: Finds what a live stream lost without a word.
        """
        self._timeline = timeline
        self._losses = losses
        self._rate = sample_rate
        self._channels = min(channels, 2)
        self._make_room = make_room
        self._pace = pace
        self._gate = ValidityGate(sample_rate)
        self._guard = DeadChannelGuard(timeline.sample_rate, timeline.name)
        self._resampler: StreamResampler | None = None
        self._arrived = 0  # samples of the stream, delivered or lost
        self._placed = 0  # samples of the timeline that stand for them so far
        self._told_invalid = False
        self._told_missing = False
        self._begin = timeline.stop
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
                    self._timeline.open(self._channels)
                    self._resampler = StreamResampler(
                        self._rate, self._timeline.sample_rate, self._channels
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
            self._timeline.vitals.put(Vitals(start, stop, channels))

    def _placed_at(self, index: int) -> int:
        """Where a sample of the stream lies in the timeline."""
        return self._begin + round(index * self._timeline.sample_rate / self._rate)

    def _tell_missing(self, seconds: float) -> None:
        if not self._told_missing:
            self._told_missing = True
            logger.warning(
                "source %r lost %.2f s of sound without a word; that is a gap, and so "
                "is what it loses from now on",
                self._timeline.name,
                seconds,
            )

    def _tell_invalid(self) -> None:
        if not self._told_invalid:
            self._told_invalid = True
            logger.warning(
                "source %r delivers samples that are no sound, not finite or absurdly "
                "loud; they count as lost (is its sample_format right?)",
                self._timeline.name,
            )

    def _write(self, samples: Samples, now: float) -> None:
        count = samples.shape[1]
        if count == 0:
            return
        self._placed += count
        if self._make_room(count):
            self._losses.settle()
            self._timeline.write(self._guard.push(samples), now)
