"""Health of a source's signal: statistics of its channels, and the faults they show.

The samples are measured as they come in, before anything changes them: a resampler
rounds off the flat tops of a clipped wave, and a dead channel is replaced on the way.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.audio.level import FLOOR_DB, NoiseFloor
from monitor.audio.ring import Samples
from monitor.config.audio import HealthSettings
from monitor.records import Health, HealthKind, HealthState, ScoreFrame

INTERVAL_SECONDS = 0.5

DEAD_DB = -50.0
"""Level re the other channel below which one is dead: crosstalk of an open input."""

ALIVE_DB = -40.0
"""Level re the other channel above which it is alive again; higher: hysteresis."""

_FAINT_DBFS = -80.0
"""Level of the louder channel below which the two cannot be compared."""

_FULL_SCALE = 0.98
"""Level of a flat top that is clipped; 8-bit and mu-law sound ends not far above it."""

_FLAT_SAMPLES = 3
_STEEP = 1e-3
"""A wave runs into its flat top by a step of at least this, re the top.

The top of a low unclipped tone may be flat for some samples as well, once it is rounded
to 16 bits, but its neighbours are the next steps below.
"""

_CLIPPED_SHARE = 10
"""Good samples that make up for a clipped one."""

_OFFSET = 0.05
_OFFSET_STAYS = 0.04
"""Mean of the samples re full scale that raises an offset, and that keeps it raised."""

_KINDS_OF_RECORDINGS: frozenset[HealthKind] = frozenset(
    {"clipping", "dc-offset", "dead-channel", "stuck-channel"}
)
"""Silence in a recording was put there by its author."""


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """The statistics of one channel in one interval."""

    lowest: float
    highest: float
    mean: float
    power: float
    """Mean square of the samples less their mean."""

    clipped: int
    """Samples in flat tops at full scale."""

    @property
    def is_constant(self) -> bool:
        """True if all samples have one value."""
        return self.lowest == self.highest

    @property
    def is_zero(self) -> bool:
        """True if all samples are zero."""
        return self.is_constant and self.lowest == 0.0

    @property
    def is_stuck(self) -> bool:
        """True if all samples have one value that is not zero."""
        return self.is_constant and self.lowest != 0.0


Channels = tuple[ChannelStatistics, ...]


@dataclass(frozen=True, slots=True)
class SignalStatistics:
    """The channels of a source in the samples [start, stop) of its timeline."""

    start: int
    stop: int
    channels: Channels


class ChannelMeter:
    """Measures a stream in intervals of half a second, counted from its first sample.

    Block sizes do not matter.  Not thread-safe.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.samples = round(INTERVAL_SECONDS * sample_rate)
        """Length of an interval, samples of the stream."""

        # The samples are kept, not their sums so far, which other blocks would round
        # differently.
        self._interval = np.zeros((channels, self.samples), np.float32)
        self._filled = 0

    def push(self, block: Samples) -> Iterator[tuple[Samples, Channels | None]]:
        """Cut the samples that follow at the ends of intervals.

        Args:
            block: float32, shape (channels, n), finite, any n.

        Yields:
            A part of `block`, and the statistics of the interval that it completes.
        """
        start = 0
        while start < block.shape[1]:
            part = block[:, start : start + self.samples - self._filled]
            start += part.shape[1]
            stop = self._filled + part.shape[1]
            self._interval[:, self._filled : stop] = part
            self._filled = stop % self.samples
            yield part, None if self._filled else tuple(map(_measured, self._interval))


def _measured(wave: NDArray[np.float32]) -> ChannelStatistics:
    lowest, highest = float(wave.min()), float(wave.max())
    if lowest == highest:
        return ChannelStatistics(lowest, highest, lowest, 0.0, 0)
    mean = float(wave.mean())
    power = max(0.0, float(np.dot(wave, wave)) / wave.size - mean * mean)
    clipped = _clipped(wave) if max(highest, -lowest) >= _FULL_SCALE else 0
    return ChannelStatistics(lowest, highest, mean, power, clipped)


def _clipped(wave: NDArray[np.float32]) -> int:
    """Count the samples in runs of one value at full scale with steep flanks."""
    edges = np.flatnonzero(np.diff(wave)) + 1
    first = np.concatenate([[0], edges])
    last = np.concatenate([edges, [wave.size]]) - 1
    lengths = last - first + 1
    is_flat = (lengths >= _FLAT_SAMPLES) & (np.abs(wave[first]) >= _FULL_SCALE)
    first, last = first[is_flat], last[is_flat]
    top = wave[first]
    before = np.abs(top - wave[np.maximum(first - 1, 0)])
    after = np.abs(top - wave[np.minimum(last + 1, wave.size - 1)])
    is_steep = np.maximum(before, after) >= _STEEP * np.abs(top)
    return int(lengths[is_flat][is_steep].sum())


def quieter_channel(channels: Channels) -> tuple[int, float] | None:
    """Compare two channels.

    Returns:
        Index of the quieter one, and its level re the other one, dB; None where both
        are too faint to compare.
    """
    quiet, loud = sorted(channel.power for channel in channels)
    if loud < 10 ** (_FAINT_DBFS / 10):
        return None
    level_db = -math.inf if quiet == 0 else 10 * math.log10(quiet / loud)
    return int(channels[1].power < channels[0].power), level_db


Finding = tuple[bool | None, str]
"""True if there is a fault, None if that is unknown; and a sentence about it."""


def _clipping(channels: Channels, _is_raised: bool) -> Finding:
    return (
        any(channel.clipped for channel in channels),
        "the tops of the wave are cut off at full scale: turn the gain down",
    )


def _dc_offset(channels: Channels, is_raised: bool) -> Finding:
    # A stuck channel has an offset too, but that is not its fault.
    offsets = [channel.mean for channel in channels if not channel.is_constant]
    if not offsets:
        return None, ""
    offset = max(offsets, key=abs)
    detail = f"the samples swing around {offset:+.1%} of full scale, not around zero"
    return abs(offset) >= (_OFFSET_STAYS if is_raised else _OFFSET), detail


def _dead_channel(channels: Channels, is_raised: bool) -> Finding:
    if len(channels) < 2:
        return False, ""
    quieter = quieter_channel(channels)
    if quieter is None or any(channel.is_stuck for channel in channels):
        return None, ""
    index, level_db = quieter
    detail = f"channel {index + 1} is " + (
        f"{-level_db:.0f} dB below the other one"
        if math.isfinite(level_db)
        else "silent"
    )
    return level_db <= (ALIVE_DB if is_raised else DEAD_DB), detail


def _stuck_channel(channels: Channels, _is_raised: bool) -> Finding:
    for number, channel in enumerate(channels, 1):
        if channel.is_stuck:
            value = f"{channel.highest:.4g}"
            return True, f"channel {number} delivers one and the same value, {value}"
    return False, ""


def _digital_silence(channels: Channels, _is_raised: bool) -> Finding:
    return (
        all(channel.is_zero for channel in channels),
        "there is nothing but zeros: muted, or not connected?",
    )


_CHECKS: dict[HealthKind, Callable[[Channels, bool], Finding]] = {
    "clipping": _clipping,
    "dc-offset": _dc_offset,
    "dead-channel": _dead_channel,
    "stuck-channel": _stuck_channel,
    "digital-silence": _digital_silence,
}


class Debouncer:
    """A fault that is raised once it has lasted, and cleared once it has been away.

    Counts samples, so that it needs no clock.
    """

    def __init__(self, forgives: int | None = None) -> None:
        """Begin without a fault.

        Args:
            forgives: Good samples that make up for a faulty one; None: the first good
                interval makes up for all before it.
        """
        self.is_raised = False
        self.start = 0
        """Sample at which the fault began."""

        self.stop = 0
        """Sample up to which the fault was seen."""

        self._forgives = forgives
        self._faulty = 0
        self._good = 0

    def push(
        self, start: int, stop: int, is_faulty: bool | None, hold: int, clear: int
    ) -> HealthState | None:
        """Add the samples [start, stop); return the new state, if it has changed.

        Args:
            start: Absolute index.
            stop: Absolute index, exclusive.
            is_faulty: None: they cannot be judged.
            hold: Faulty samples that raise it.
            clear: Good samples in a row that clear it.
        """
        count = stop - start
        if is_faulty:
            if not self.is_raised and self._faulty == 0:
                self.start = start
            self.stop, self._good = stop, 0
            self._faulty += count
            if not self.is_raised and self._faulty >= hold:
                self.is_raised = True
                return "raised"
        elif is_faulty is False and self.is_raised:
            self._good += count
            if self._good >= clear:
                self.is_raised = False
                self.interrupt()
                return "cleared"
        elif is_faulty is False:
            forgiven = count // self._forgives if self._forgives else self._faulty
            self._faulty = max(0, self._faulty - forgiven)
        return None

    def interrupt(self) -> None:
        """Begin to count anew, after a gap; a raised fault stays."""
        self._faulty = self._good = 0


class SignalHealth:
    """Makes the health records of one source.  Not thread-safe; needs no clock.

    They depend on the samples alone, never on the sizes of blocks nor on how fast they
    come.
    """

    def __init__(
        self,
        source: str,
        sample_rate: int,
        settings: HealthSettings,
        *,
        session: str,
        live: bool,
    ) -> None:
        """Begin without any fault.

        Args:
            source: Name of the source.
            sample_rate: Samples a second of the timeline.
            settings: Limits and durations.
            session: Part of the ids of records, unique for a run.
            live: False for a recording, in which silence is normal.
        """
        self._source = source
        self._rate = sample_rate
        self._session = session
        self._live = live
        self._stop = 0
        self._raised: dict[HealthKind, Health] = {}
        self._debouncers = {
            kind: Debouncer(forgives=_CLIPPED_SHARE if kind == "clipping" else None)
            for kind in _CHECKS
        }
        self._floor = NoiseFloor(sample_rate)
        self._settings = settings
        self._hold = round(settings.hold_seconds * self._rate)
        self._clear = round(settings.clear_seconds * self._rate)

    def push(self, interval: SignalStatistics) -> list[Health]:
        """Add the next interval of the source; return the changes."""
        if interval.start - self._stop > self._hold:
            for debouncer in self._debouncers.values():
                debouncer.interrupt()
        self._stop = interval.stop
        changes: list[Health] = []
        for kind, check in _CHECKS.items():
            debouncer = self._debouncers[kind]
            is_faulty, detail = check(interval.channels, debouncer.is_raised)
            state = debouncer.push(
                interval.start, interval.stop, is_faulty, self._hold, self._clear
            )
            if state == "raised":
                changes += self._raise(kind, debouncer.start, interval.stop, detail)
            elif state == "cleared":
                changes += self._end(kind, debouncer.stop, "")
        return changes

    def push_level(self, frame: ScoreFrame) -> list[Health]:
        """Add the level of the newest hop of the source; return the changes."""
        self._stop = max(self._stop, frame.stop)
        if not self._live or frame.level_dbfs <= FLOOR_DB:
            return []
        fall_db = self._settings.noise_floor_fall_db
        change = self._floor.push(frame.stop, frame.laeq_db, fall_db)
        if change is None:
            return []
        if change.state == "fell":
            detail = (
                f"even the quiet moments are {change.fall_db:.0f} dB quieter than the "
                "quietest hours of the last day: covered or muffled?"
            )
            return self._raise("noise-floor", change.start, change.stop, detail)
        detail = "" if change.state == "back" else "it was away, and is learned anew"
        return self._end("noise-floor", change.stop, detail)

    def finish(self, detail: str) -> list[Health]:
        """Clear every raised fault: checking ends, because of `detail`."""
        changes: list[Health] = []
        for kind in list(self._raised):
            debouncer = self._debouncers.get(kind)
            # It may have been away for a while, though not for the clear time.
            stop = debouncer.stop if debouncer else self._stop
            changes += self._end(kind, stop, detail)
        return changes

    def _raise(
        self, kind: HealthKind, start: int, stop: int, detail: str
    ) -> list[Health]:
        is_checked = self._live or kind in _KINDS_OF_RECORDINGS
        if kind in self._settings.ignore or not is_checked:
            return []
        name = f"{self._session}-{self._source}-{kind}-{start}"
        record = Health(self._source, start, stop, kind, "raised", detail, name)
        self._raised[kind] = record
        return [record]

    def _end(self, kind: HealthKind, stop: int, detail: str) -> list[Health]:
        raised = self._raised.pop(kind, None)
        if raised is None:
            return []
        return [replace(raised, stop=stop, state="cleared", detail=detail)]
