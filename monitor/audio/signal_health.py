"""Is the microphone well: from what is measured of a source to what is told of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from monitor.audio.channel_statistics import Change, ChannelVitals, NoiseFloor, Vitals
from monitor.audio.level import FLOOR_DB
from monitor.config.audio import HealthSettings
from monitor.records import Health, HealthKind, HealthState, ScoreFrame

_OFFSET = 0.05
_OFFSET_STAYS = 0.04
"""Mean of the samples re full scale: from where an offset is told, and until where."""

_DEAD_DB = -50.0
_DEAD_STAYS_DB = -40.0
"""One channel re the other; as the guard that leaves a dead channel out."""

_FAINT_DBFS = -80.0
"""Below this level the louder channel says nothing about the other one."""

_CLIPPED_SHARE = 10
"""Clipping is raised where more than one part in so many is clipped, for a while."""

_KINDS_OF_RECORDINGS: frozenset[HealthKind] = frozenset(
    {"clipping", "dc-offset", "dead-channel", "stuck-channel"}
)
"""Silence in a recording was put there by whoever made it."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one cell says of one kind."""

    is_ill: bool | None
    """None: it says nothing."""

    detail: str = ""


class HealthJudge:
    """Judges one source.  Not thread-safe; knows no clock.

    What comes out depends on the samples alone, never on the sizes of blocks nor on how
    fast they come.
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
        """Begin with nothing known.

        Args:
            source: Its name.
            sample_rate: Of the timeline.
            settings: How long and how much is too much.
            session: Told apart in the ids of records; a run's is unique.
            live: False for a recording, in which silence is no news.
        """
        self._source = source
        self._rate = sample_rate
        self._session = session
        self._live = live
        self._stop = 0
        self._raised: dict[HealthKind, Health] = {}
        self._latches: dict[HealthKind, Latch] = {
            "clipping": Latch(forgives=_CLIPPED_SHARE),
            "dc-offset": Latch(),
            "dead-channel": Latch(),
            "stuck-channel": Latch(),
            "digital-silence": Latch(),
        }
        self._floor = NoiseFloor(sample_rate)
        self.adopt(settings)

    def adopt(self, settings: HealthSettings) -> None:
        """Judge by other settings from here on; what is known stays."""
        self._settings = settings
        self._hold = round(settings.hold_seconds * self._rate)
        self._clear = round(settings.clear_seconds * self._rate)

    def push(self, vitals: Vitals) -> list[Health]:
        """Take the next cell of the source."""
        if vitals.start - self._stop > self._hold:
            for latch in self._latches.values():
                latch.interrupt()
        self._stop = vitals.stop
        told = []
        for kind, verdict in self._verdicts(vitals):
            latch = self._latches[kind]
            changed = latch.push(
                vitals.start, vitals.stop, verdict.is_ill, self._hold, self._clear
            )
            if changed == "raised":
                told += self._raise(kind, latch.start, vitals.stop, verdict.detail)
            elif changed == "cleared":
                told += self._end(kind, latch.stop, "")
        return told

    def hear(self, frame: ScoreFrame) -> list[Health]:
        """Take the level of the newest hop of the source."""
        self._stop = max(self._stop, frame.stop)
        if not self._live or frame.level_dbfs <= FLOOR_DB:
            return []
        fall_db = self._settings.noise_floor_fall_db
        change = self._floor.push(frame.stop, frame.laeq_db, fall_db)
        return [] if change is None else self._tell_floor(change)

    def finish(self, detail: str) -> list[Health]:
        """End what is raised: nobody looks any more, because of `detail`."""
        told = []
        for kind in list(self._raised):
            latch = self._latches.get(kind)
            # It may have been away for a while, though not for the clear time.
            told += self._end(kind, latch.stop if latch else self._stop, detail)
        return told

    def _verdicts(self, vitals: Vitals) -> Iterator[tuple[HealthKind, _Verdict]]:
        channels = vitals.channels
        yield "clipping", _clipping(channels)
        limit = _OFFSET_STAYS if self._latches["dc-offset"].is_raised else _OFFSET
        yield "dc-offset", _offset(channels, limit)
        dead = self._latches["dead-channel"].is_raised
        yield "dead-channel", _dead(channels, _DEAD_STAYS_DB if dead else _DEAD_DB)
        yield "stuck-channel", _stuck(channels)
        yield "digital-silence", _silence(channels)

    def _tell_floor(self, change: Change) -> list[Health]:
        if change.state == "fell":
            detail = (
                f"even the quiet moments are {change.fall_db:.0f} dB quieter than the "
                "quietest hours of the last day: covered or muffled?"
            )
            return self._raise("noise-floor", change.start, change.stop, detail)
        detail = "" if change.state == "back" else "it was away, and is learned anew"
        return self._end("noise-floor", change.stop, detail)

    def _raise(
        self, kind: HealthKind, start: int, stop: int, detail: str
    ) -> list[Health]:
        if kind in self._settings.ignore:
            return []
        if not self._live and kind not in _KINDS_OF_RECORDINGS:
            return []
        name = f"{self._session}-{self._source}-{kind}-{start}"
        self._raised[kind] = Health(
            self._source, start, stop, kind, "raised", detail, name
        )
        return [self._raised[kind]]

    def _end(self, kind: HealthKind, stop: int, detail: str) -> list[Health]:
        raised = self._raised.pop(kind, None)
        if raised is None:
            return []
        return [
            Health(self._source, raised.start, stop, kind, "cleared", detail, raised.id)
        ]


class Latch:
    """Raised once something was so for long enough, cleared once it was away so long.

    Counts samples, so that it knows no clock.
    """

    def __init__(self, forgives: int | None = None) -> None:
        """Begin well.

        Args:
            forgives: So many well samples make up for an ill one; None: the first well
                cell makes up for all before it.
        """
        self.is_raised = False
        self.start = 0
        """Where it began to be so."""

        self.stop = 0
        """Where it was so last."""

        self._forgives = forgives
        self._ill = 0
        self._well = 0

    def push(
        self, start: int, stop: int, is_ill: bool | None, hold: int, clear: int
    ) -> HealthState | None:
        """Take what the samples [start, stop) say; return what has changed by it.

        Args:
            start: Absolute index.
            stop: Absolute index, exclusive.
            is_ill: None: they say nothing.
            hold: Ill samples that raise it.
            clear: Well samples in a row that clear it.
        """
        if is_ill is None:
            return None
        if is_ill:
            return self._push_ill(start, stop, hold)
        return self._push_well(stop - start, clear)

    def interrupt(self) -> None:
        """Begin to count anew, after a gap; what is raised stays."""
        self._ill = self._well = 0

    def _push_ill(self, start: int, stop: int, hold: int) -> HealthState | None:
        if not self.is_raised and self._ill <= 0:
            self.start, self._ill = start, 0
        self.stop, self._well = stop, 0
        self._ill += stop - start
        if self.is_raised or self._ill < hold:
            return None
        self.is_raised = True
        return "raised"

    def _push_well(self, count: int, clear: int) -> HealthState | None:
        if not self.is_raised:
            self._ill = 0 if self._forgives is None else self._remaining(count)
            return None
        self._well += count
        if self._well < clear:
            return None
        self.is_raised = False
        self._ill = self._well = 0
        return "cleared"

    def _remaining(self, count: int) -> int:
        assert self._forgives is not None, "else all is forgiven"
        return max(0, self._ill - count // self._forgives)


def _clipping(channels: tuple[ChannelVitals, ...]) -> _Verdict:
    return _Verdict(
        any(channel.clipped for channel in channels),
        "the tops of the wave are cut off at full scale: turn the gain down",
    )


def _offset(channels: tuple[ChannelVitals, ...], limit: float) -> _Verdict:
    # One that is stuck has an offset too, but that is not what is wrong with it.
    offsets = [channel.mean for channel in channels if not channel.is_constant]
    if not offsets:
        return _Verdict(None)
    offset = max(offsets, key=abs)
    detail = f"the samples swing around {offset:+.1%} of full scale, not around zero"
    return _Verdict(abs(offset) >= limit, detail)


def _dead(channels: tuple[ChannelVitals, ...], limit_db: float) -> _Verdict:
    if len(channels) < 2:
        return _Verdict(False)
    if any(channel.is_constant and not channel.is_zero for channel in channels):
        return _Verdict(None)  # stuck, which is told
    quiet, loud = sorted(channel.power for channel in channels)
    if loud < 10 ** (_FAINT_DBFS / 10):
        return _Verdict(None)
    number = 1 + [channel.power for channel in channels].index(quiet)
    below_db = math.inf if quiet == 0 else 10 * math.log10(loud / quiet)
    silent = "silent" if quiet == 0 else f"{below_db:.0f} dB below the other one"
    return _Verdict(-below_db <= limit_db, f"channel {number} is {silent}")


def _stuck(channels: tuple[ChannelVitals, ...]) -> _Verdict:
    stuck = [
        number
        for number, channel in enumerate(channels, 1)
        if channel.is_constant and not channel.is_zero
    ]
    if not stuck:
        return _Verdict(False)
    value = channels[stuck[0] - 1].highest
    detail = f"channel {stuck[0]} delivers one and the same value, {value:.4g}"
    return _Verdict(True, detail)


def _silence(channels: tuple[ChannelVitals, ...]) -> _Verdict:
    return _Verdict(
        all(channel.is_zero for channel in channels),
        "there is nothing but zeros: muted, or not connected?",
    )
