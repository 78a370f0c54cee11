"""Conditioning of an open source's samples: valid, one or two channels, model rate."""

import logging
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import soxr

from monitor.audio.dropouts import DropoutDetector, GapJoiner
from monitor.audio.ring import Samples
from monitor.audio.signal_health import ALIVE_DB, DEAD_DB
from monitor.audio.signal_statistics import (
    INTERVAL_SECONDS,
    ChannelMeter,
    Channels,
    Interval,
    SignalStatistics,
    quieter_channel,
)
from monitor.audio.sources.source import Lost
from monitor.audio.timeline import Timeline
from monitor.records import GapReason

logger = logging.getLogger(__name__)

_INTERVALS_UNTIL_DEAD = 6
_INTERVALS_UNTIL_ALIVE = 2
_INTERVALS_UNTIL_MONO = 6

# From 48 to 44.1 kHz in blocks of 10 ms, HQ costs 0.75 ms of one x86 core for a second
# of mono and 0.91 for stereo, MQ 0.73 and 0.84: most of it is the call.  For so little
# HQ is flat to 20 kHz within 0.01 dB (MQ: 0.2 dB) and keeps what folds back at
# -135 dB (MQ: -112), at the price of 17 ms of delay instead of 8.
_QUALITY = "HQ"

_MOST_AMPLITUDE = 100.0
"""40 dB beyond full scale: bytes that are not floats, or a broken driver."""

_QUARANTINE_SECONDS = 0.5


def at_most_two_channels(block: Samples) -> Samples:
    """Return one or two channels as they are; of more, their mean, as one channel.

    Any of them may be the one with the sound: the centre of 5.1, the third of an array.
    """
    return block if len(block) <= 2 else block.mean(axis=0, keepdims=True)


class DeadChannelGuard:
    """Replaces a dead channel of a stereo stream by the living one.

    A microphone of one capsule behind a stereo plug delivers one silent channel, which
    a network trained on two would take for a strange room.  A channel is dead that has
    stayed 50 dB below the other for three seconds, and lives again when it has come
    within 40 dB of it for one.  An interval of silence changes nothing.  Not
    thread-safe.
    """

    def __init__(self, source: str = "") -> None:
        """Begin a stream; `source` is its name for the log."""
        self.dead: int | None = None
        """The channel that is replaced now, if any."""

        self._source = source
        self._suspect = 0
        self._streak = 0

    def repair(self, samples: Samples) -> Samples:
        """Return the samples with the dead channel replaced; else `samples` itself."""
        return samples if self.dead is None else samples[[1 - self.dead] * 2]

    def judge(self, channels: Channels) -> None:
        """Count the intervals that speak for a change."""
        quieter = quieter_channel(channels) if len(channels) == 2 else None
        if quieter is None:
            return
        channel, level_db = quieter
        if self.dead is None:
            if channel != self._suspect:
                self._suspect, self._streak = channel, 0
            speaks_for_change = level_db <= DEAD_DB
            needed = _INTERVALS_UNTIL_DEAD
        else:
            speaks_for_change = channel != self.dead or level_db >= ALIVE_DB
            needed = _INTERVALS_UNTIL_ALIVE
        self._streak = self._streak + 1 if speaks_for_change else 0
        if self._streak == needed:
            self._streak = 0
            self.dead = self._suspect if self.dead is None else None
            self._log()

    def _log(self) -> None:
        change = (
            "back; both channels are used again"
            if self.dead is None
            else f"dead (over {-DEAD_DB:.0f} dB below the other for "
            f"{_INTERVALS_UNTIL_DEAD * INTERVAL_SECONDS:.1f} s); "
            "the other one takes its place"
        )
        logger.warning(
            "source %r: channel %d is %s", self._source, self._suspect + 1, change
        )


class StreamResampler:
    """Resamples a stream block by block, as if it came in one piece.

    The output does not depend on the sizes of the blocks: soxr keeps its filter's state
    between them.  It lags by the filter's length; its first sample stands for the first
    sample of the input.  Not thread-safe.
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

    def push(self, block: Samples) -> Samples:
        """Add the samples that follow; return those that are ready.

        Args:
            block: float32, shape (channels, n), finite, any n.

        Returns:
            float32, shape (channels, m); m may be 0.  At equal rates `block` itself.
        """
        return self._process(block, last=False)

    def finish(self) -> Samples:
        """End the stream, once; return the samples that were still in the filter.

        With them the output is as long as the input, to half a sample of the output.
        """
        return self._process(np.empty((self._channels, 0), np.float32), last=True)

    def _process(self, block: Samples, last: bool) -> Samples:
        if self._stream is None:
            return block
        interleaved = np.ascontiguousarray(block.T)  # (n, channels), as soxr wants it
        output = self._stream.resample_chunk(interleaved, last=last)
        return np.ascontiguousarray(output.T)


class ValidityGate:
    """Takes invalid samples out of a stream, and those that follow them too soon.

    NaN, infinity and absurd amplitudes are invalid.  A source that delivers them is
    trusted again after half a second of valid samples.  Otherwise a source in the wrong
    format, in which some samples look like numbers by chance, would be a thousand gaps
    a second.  Not thread-safe.
    """

    def __init__(self, sample_rate: int) -> None:
        self._quarantine = round(_QUARANTINE_SECONDS * sample_rate)
        self._clear = self._quarantine  # samples since the last invalid one

    def push(self, block: Samples) -> list[Samples | Lost]:
        """Divide the samples that follow into valid and lost ones, in order.

        Block sizes do not matter.

        Args:
            block: float32, shape (channels, n), any n; a sample is lost if it is
                invalid in any channel.
        """
        count = block.shape[1]
        if count == 0:
            return []
        # A block with so little energy has no such sample, and NaN is not less.
        if self._clear == self._quarantine:
            energy = np.vdot(block, block)
            if energy <= _MOST_AMPLITUDE**2:
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


class Conditioner:
    """Brings the blocks of one open stream to the model's rate and to 1 or 2 channels.

    The position in the timeline follows the position in the stream, lost samples
    included, whatever the resampler rounds.  Used by the capture thread.
    """

    def __init__(
        self,
        timeline: Timeline,
        gaps: GapJoiner,
        *,
        sample_rate: int,
        channels: int,
        make_room: Callable[[int], bool],
        dropouts: DropoutDetector | None = None,
        detail: str = "",
    ) -> None:
        """Begin at the end of `timeline`; `make_room` waits until samples fit.

        `detail` describes a live stream; two equal channels are added to it.
        """
        self._timeline = timeline
        self._gaps = gaps
        self._rate = sample_rate
        self._channels = channels if channels <= 2 else 1
        self._make_room = make_room
        self._dropouts = dropouts
        self._detail = detail
        self._mono_intervals = 0
        self._gate = ValidityGate(sample_rate)
        self._guard = DeadChannelGuard(timeline.name)
        self._meter = ChannelMeter(sample_rate, self._channels)
        self._resampler: StreamResampler | None = None
        self._arrived = 0  # samples of the stream, delivered or lost
        self._placed = 0  # samples of the timeline that stand for them so far
        self._begin = timeline.stop
        self._logged: set[str] = set()

    def push(self, block: Samples, now: float) -> None:
        """Add the next block of the stream, any size, shape (channels, n)."""
        self._lose_missing(block.shape[1], now)
        for part in self._gate.push(block):
            if isinstance(part, Lost):
                self._log_once(
                    "source %r delivers samples that are not finite or absurdly loud; "
                    "they count as lost (is its sample_format right?)"
                )
                self._lose(part.count, "invalid", now)
                continue
            if self._resampler is None:
                self._timeline.open(self._channels)
                self._resampler = StreamResampler(
                    self._rate, self._timeline.sample_rate, self._channels
                )
            samples = self._measure(at_most_two_channels(part))
            self._write(self._resampler.push(samples), now)

    def lose(self, count: int, reason: GapReason, now: float) -> None:
        """Lose the next `count` samples of the stream."""
        self._lose_missing(count, now)
        self._lose(count, reason, now)

    def captured_at(self, now: float) -> float:
        """Return the capture time of the newest sample, which arrived at `now`."""
        return now if self._dropouts is None else self._dropouts.captured_at(now)

    def hold_back(self) -> None:
        """Ignore the delay of the next samples: the stream was not read."""
        if self._dropouts is not None:
            self._dropouts.restart()

    def flush(self, now: float) -> None:
        """Write the samples that are left in the resampler."""
        if self._resampler is not None:
            self._write(self._resampler.finish(), now)
            self._resampler = None

    def _lose_missing(self, count: int, now: float) -> None:
        """Lose the samples that should have come before the next `count`."""
        if self._dropouts is None:
            return
        missing = self._dropouts.missing(count, now)
        if missing:
            self._log_once(
                "source %r lost %.2f s of sound without reporting it; that is a gap, "
                "and so are its next losses",
                missing / self._rate,
            )
            self._lose(missing, "stalled", now)

    def _lose(self, count: int, reason: GapReason, now: float) -> None:
        self.flush(now)
        self._arrived += count
        self._meter.restart()
        position = self._placed_at(self._arrived) - self._begin
        missing = max(0, position - self._placed)
        self._placed += missing
        self._gaps.add(missing, reason)

    def _measure(self, samples: Samples) -> Samples:
        """Measure the channels; return the samples with a dead one replaced."""
        repaired = []
        for part, interval in self._meter.push(samples):
            repaired.append(self._guard.repair(part))
            self._arrived += part.shape[1]
            if interval is not None:
                self._judge(interval)
        return repaired[0] if len(repaired) == 1 else np.concatenate(repaired, axis=1)

    def _judge(self, interval: Interval) -> None:
        self._guard.judge(interval.channels)
        start = self._placed_at(self._arrived - self._meter.samples)
        stop = self._placed_at(self._arrived)
        self._timeline.add_statistics(
            SignalStatistics(start, stop, interval.channels, interval.period_seconds)
        )
        self._mono_intervals = self._mono_intervals + 1 if interval.is_mono else 0
        if self._mono_intervals == _INTERVALS_UNTIL_MONO and self._detail:
            # No trouble, but not the two capsules that the device claims to have.
            self._timeline.state("listening", f"{self._detail}, both the same: mono")
            self._detail = ""  # said once

    def _placed_at(self, index: int) -> int:
        """Position of a sample of the stream in the timeline."""
        return self._begin + round(index * self._timeline.sample_rate / self._rate)

    def _log_once(self, sentence: str, *facts: float) -> None:
        if sentence not in self._logged:
            self._logged.add(sentence)
            logger.warning(sentence, self._timeline.name, *facts)

    def _write(self, samples: Samples, now: float) -> None:
        count = samples.shape[1]
        if count == 0:
            return
        self._placed += count
        if self._make_room(count):
            self._gaps.flush()
            self._timeline.write(samples, now)
