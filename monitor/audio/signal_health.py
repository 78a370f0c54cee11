"""Health of a source's signal: the faults that its statistics and levels show."""

import math
from collections.abc import Callable
from dataclasses import replace

from monitor.audio.level import FLOOR_DB, NoiseFloor
from monitor.audio.signal_statistics import SignalStatistics, quieter_channel
from monitor.config.audio import HealthSettings
from monitor.records import Health, HealthKind, HealthState, ScoreFrame

DEAD_DB = -50.0
"""Level re the other channel below which one is dead: crosstalk of an open input."""

ALIVE_DB = -40.0
"""Level re the other channel above which it is alive again; higher: hysteresis."""

_CLIPPED_SHARE = 10
"""Good samples that make up for a clipped one."""

_LAST_BIT = 2.5 / 2**15
"""Range of samples that only the last bit of 16 changes, up and down: dither.

The noise of a microphone has no such sharp edge.  Even at a third of a bit, -101 dBFS,
it goes beyond in some half-second of ten minutes.
"""

_GATE_HOURS = 12
"""Longer than a night in which nothing is heard."""

_OFFSET = 0.05
_OFFSET_STAYS = 0.04
"""Mean of the samples re full scale that raises an offset, and that keeps it raised."""

_KINDS_OF_RECORDINGS: frozenset[HealthKind] = frozenset(
    {"clipping", "dc-offset", "dead-channel", "stuck-channel"}
)
"""Silence in a recording was put there by its author."""


Finding = tuple[bool | None, str]
"""True if there is a fault, None if that is unknown; and a sentence about it."""


def _clipping(interval: SignalStatistics, _is_raised: bool) -> Finding:
    return (
        any(channel.clipped for channel in interval.channels),
        "the tops of the wave are cut off at full scale: turn the gain down",
    )


def _dc_offset(interval: SignalStatistics, is_raised: bool) -> Finding:
    # A stuck channel has an offset too, but that is not its fault.
    offsets = [each.mean for each in interval.channels if not each.is_constant]
    if not offsets:
        return None, ""
    offset = max(offsets, key=abs)
    detail = f"the samples swing around {offset:+.1%} of full scale, not around zero"
    return abs(offset) >= (_OFFSET_STAYS if is_raised else _OFFSET), detail


def _dead_channel(interval: SignalStatistics, is_raised: bool) -> Finding:
    channels = interval.channels
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


def _stuck_channel(interval: SignalStatistics, _is_raised: bool) -> Finding:
    for number, channel in enumerate(interval.channels, 1):
        if channel.is_stuck:
            value = f"{channel.highest:.4g}"
            return True, f"channel {number} delivers one and the same value, {value}"
    return False, ""


def _digital_silence(interval: SignalStatistics, _is_raised: bool) -> Finding:
    return (
        all(channel.is_zero for channel in interval.channels),
        "there is nothing but zeros: muted, or not connected?",
    )


def _no_signal(interval: SignalStatistics, _is_raised: bool) -> Finding:
    ranges = [channel.highest - channel.lowest for channel in interval.channels]
    if max(ranges) == 0.0:
        return None, ""  # digital silence, or stuck
    return (
        max(ranges) <= _LAST_BIT,
        "nothing but the last bit changes, and that is no sound: muted, gain at zero, "
        "or not connected?",
    )


def _repetition(interval: SignalStatistics, _is_raised: bool) -> Finding:
    seconds = interval.period_seconds
    if seconds is None:
        return False, ""
    length = f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.4g} ms"
    return True, (
        f"the same {length} come over and over, to the last bit: the driver or the "
        "program is stuck, or it generates a tone"
    )


_CHECKS: dict[HealthKind, Callable[[SignalStatistics, bool], Finding]] = {
    "clipping": _clipping,
    "dc-offset": _dc_offset,
    "dead-channel": _dead_channel,
    "stuck-channel": _stuck_channel,
    "digital-silence": _digital_silence,
    "no-signal": _no_signal,
    "repetition": _repetition,
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
        level_gate_dbfs: float,
        session: str,
        live: bool,
    ) -> None:
        """Begin without any fault.

        Args:
            source: Name of the source.
            sample_rate: Samples a second of the timeline.
            settings: Limits and durations.
            level_gate_dbfs: Level below which nothing is detected.
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
        self._gate_dbfs = level_gate_dbfs
        self._loudest_dbfs = -math.inf
        self._began: int | None = None
        self._settings = settings
        self._hold = round(settings.hold_seconds * self._rate)
        self._holds: dict[HealthKind, int] = {
            "no-signal": round(settings.no_signal_seconds * self._rate)
        }
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
            is_faulty, detail = check(interval, debouncer.is_raised)
            hold = self._holds.get(kind, self._hold)
            state = debouncer.push(
                interval.start, interval.stop, is_faulty, hold, self._clear
            )
            if state == "raised":
                changes += self._raise(kind, debouncer.start, interval.stop, detail)
            elif state == "cleared":
                changes += self._end(kind, debouncer.stop, "")
        return changes

    def push_level(self, frame: ScoreFrame) -> list[Health]:
        """Add the level of the newest hop of the source; return the changes."""
        self._stop = max(self._stop, frame.stop)
        if not self._live:
            return []
        changes = self._push_gate(frame)
        if frame.level_dbfs > FLOOR_DB:
            changes += self._push_floor(frame)
        return changes

    def _push_gate(self, frame: ScoreFrame) -> list[Health]:
        """Wait for the first hop that is loud enough; a later fall is the floor's."""
        if self._loudest_dbfs >= self._gate_dbfs:
            return []
        if self._began is None:
            self._began = frame.stop
        self._loudest_dbfs = max(self._loudest_dbfs, frame.level_dbfs)
        if self._loudest_dbfs >= self._gate_dbfs:
            return self._end("below-gate", frame.stop, "")
        seconds = (frame.stop - self._began) / self._rate
        if "below-gate" in self._raised or seconds < 3600 * _GATE_HOURS:
            return []
        detail = (
            f"nothing was louder than {self._loudest_dbfs:.0f} dBFS in {_GATE_HOURS} "
            f"hours, and below {self._gate_dbfs:g} dBFS nothing is detected: is the "
            "gain too low?"
        )
        return self._raise("below-gate", self._began, frame.stop, detail)

    def _push_floor(self, frame: ScoreFrame) -> list[Health]:
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
