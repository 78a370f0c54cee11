"""The records that the stages exchange: score frames, onsets, events, gaps, health.

Every `start` and `stop` is an absolute sample index at the model's sample rate, counted
from the opening of the source; `stop` is exclusive.  Only a `Timed` record has a place
on the wall clock.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

# `events` and `report` do without numpy.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SourceStateName = Literal["opening", "listening", "waiting", "ended"]

GapReason = Literal[
    "overrun",  # the worker was far too slow, or the device was not read in time
    "overload",  # the worker was too slow: windows that end in it were left out
    "stalled",  # the source was open but delivered nothing
    "ended",  # the source closed its stream, or its process exited
    "unplugged",  # the source could not be opened again at once
    "invalid",  # the source delivered samples that are not finite numbers
    "reloaded",  # the source was opened anew because of a new configuration
    "fragmented",  # between losses, the sound was too short for a window
]

EndReason = Literal[
    "offset",  # the score fell, the usual end of a sound
    "stopped",  # the monitor was stopped
    "end-of-input",  # the recording was over
    "interrupted",  # the monitor was killed, or the power failed
    "reloaded",  # a new configuration was loaded
    "overrun",
    "stalled",
    "ended",
    "unplugged",
    "invalid",
    "fragmented",
]

HealthKind = Literal[
    "clipping",  # full scale is reached again and again: the gain is too high
    "dc-offset",  # the samples do not swing around zero
    "dead-channel",  # one of two channels is silent
    "stuck-channel",  # a channel delivers one and the same value, which is not zero
    "digital-silence",  # there is nothing but zeros
    "no-signal",  # nothing but the last bit changes
    "repetition",  # the same samples come over and over
    "below-gate",  # nothing was loud enough to be detected since the opening
    "noise-floor",  # even the quiet moments are far quieter than they ever were
    "deaf",  # the source is not listened to, for any reason
    "canary",  # a known sound was mixed in and not detected
    "overload",  # the analysis does not keep up
    "compute-device",  # the network's processor failed; another one goes on
    "disk",  # records cannot be stored
    "database",  # the database was damaged, and has been set aside
    "clips",  # clips cannot be stored
    "locked-clips",  # those of locked events alone exceed the limit of size
    "publish",  # no record could be published for a fleet for ten minutes
    "overrides",  # settings that were changed while it ran are left out
    "rollout",  # a bundle was refused, left out, or rolled back
]

HealthState = Literal["raised", "cleared"]

HeldBack = Literal[
    "threshold",  # its score is below the onset threshold
    "smoothing",  # the average of its scores still is
    "duration",  # it has not lasted for long enough yet
    "rival",  # another label is too close
    "gate",  # the window lies below the level gate
    "refractory",  # it comes too soon after the event before
    "old",  # the window still holds the sound of the event before
    "silent",  # it is not reported here
]
"""Reasons for which a label does not begin in a window."""

EVERY_SOURCE = "*"
"""Name for the monitor as a whole; no source can have it."""

LabelScore = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One occurrence of a label, as far as it is known."""

    id: str
    """Id, the same for the onset and the event of an occurrence."""

    source: str
    label: str
    start: int
    """Begin of the sound: an estimate from the network's activity over time."""

    stop: int
    """End of the sound; of an onset, the end of the window that detected it."""

    peak_score: float
    mean_score: float
    level_dbfs: float
    """Loudest hop so far, dBFS."""

    laeq_db: float
    """A-weighted equivalent level over the hops so far, dB."""

    top: tuple[LabelScore, ...]
    """The three highest scores of the window with the peak score, highest first."""

    model: str
    """Name of the model that detected it."""

    lafmax_db: float | None = field(
        default=None, kw_only=True, compare=False, repr=False
    )
    """Highest A-weighted level with the time weighting Fast (LAFmax) so far, dB; None
    in records that earlier versions stored."""

    level_offset_db: float | None = field(
        default=None, kw_only=True, compare=False, repr=False
    )
    """The part of its A-weighted levels that is the `level_offset_db` of the source;
    None: unknown, in records that earlier versions stored."""


@dataclass(frozen=True, slots=True)
class Onset(Occurrence):
    """A label has begun.  Reported at once; `start` may move until the event."""


@dataclass(frozen=True, slots=True)
class Ongoing(Occurrence):
    """An occurrence at one window after its onset: see `ScoreFrame.ongoing`.

    `start`, `top` and `model` are those of the onset.  Scores and levels begin with
    those of the onset and take in every window since, with the level of its newest hop.
    `stop` is the end of the active span of the latest hit.
    """

    hits: int
    """Windows since `start` whose score is at or above the onset threshold."""

    windows: int
    """Windows since `start`."""


@dataclass(frozen=True, slots=True)
class Event(Occurrence):
    """A label has ended: it was active in [start, stop).

    Overlapping windows score a sound from soon after it enters the newest window until
    it leaves the oldest, four seconds after it ended.  So the windows do not stand for
    the extent of an event: it reaches from the first to the last moment at which the
    network was active for the label in the windows that count.

    * A window counts if its score is at or above the offset threshold.  The event
      begins with the first such window among those that were averaged over.
    * A moment is active if half of the windows that count and cover it say so; a window
      that starts after the begin of the sound, or stops before its end, has no vote.
    * `start` is at most half a window earlier than the newest hop of the first window:
      the window before did not count.  It is never in the refractory time of the event
      before.
    * An event is over as soon as the last active moment lies `min_duration_off` back.
      The rest of the sound in later windows begins nothing new: so two shots are two
      events if the pause between them is longer.  Repetitions with shorter pauses are
      one.
    * The means and peaks are those of the windows that count, before smoothing; the
      levels those of the hops that have a sample in [start, stop).

    On a clean background both ends are within 0.75 s of the truth; the span of a window
    is known to 0.19 s.
    """

    end_reason: EndReason


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the highest labels of a window, and why no event of it goes on."""

    label: str
    score: float
    threshold: float | None
    """Onset threshold; None: the label is not reported here."""

    held_back: HeldBack | None
    """None: an event of it goes on, reported."""

    rival: str | None = None
    """The label that is too close, if `held_back` is "rival"."""


@dataclass(frozen=True, slots=True)
class HopLevels:
    """Levels within one hop, from which those of hours are made; dB with the offset."""

    samples: int
    """Samples that the A-weighted levels are of, those of the LAeq too; maybe none."""

    offset_db: float
    """The part of each level that is the `level_offset_db` of the source."""

    lafmax_db: float
    """Highest A-weighted level with the time weighting Fast (LAFmax)."""

    laf_db: tuple[float, ...]
    """The same level (LAF) at equal intervals of at most 125 ms."""

    third_octaves_db: tuple[tuple[float, ...], ...] = ()
    """Unweighted levels by third octave, from 25 Hz, for each frame that the hop
    completes; empty if they are not measured."""

    third_octave_samples: int = 0
    """Samples from one of those frames to the next."""


@dataclass(frozen=True, slots=True)
class ScoreFrame:
    """The scores of one window, the level of its newest hop, and what goes on in it."""

    source: str
    start: int
    stop: int
    scores: tuple[float, ...]
    """Score of each label of the model, in its order, in [0, 1]."""

    spans: tuple[tuple[int, int], ...]
    """The part [start, stop) of the window that carries the score, for each label."""

    level_dbfs: float
    """Root mean square of the newest hop over all channels, dB re 1.0."""

    peak_level_dbfs: float
    """The loudest hop of the window, dB re 1.0."""

    laeq_db: float
    """A-weighted equivalent level of the newest hop, dB."""

    ongoing: tuple[Ongoing, ...] = ()
    """Every occurrence that goes on in this window, in the order of their onsets: also
    one that begins or ends with it, whose onset or event is the next record.  Set by
    the detector; empty before, and in frames read from a database."""

    embedding: "NDArray[np.float32] | None" = field(
        default=None, compare=False, repr=False
    )
    """The network's pooled features of the window, float32, (features,); None: they are
    not to be kept, or not computed, and in frames read from a database."""

    candidates: tuple[Candidate, ...] = field(default=(), compare=False, repr=False)
    """The highest labels, the highest first; empty unless somebody looks at them: see
    `Pipeline.explain`."""

    hop_levels: HopLevels | None = field(default=None, compare=False, repr=False)
    """More about the levels of the newest hop; None in frames read from a database."""

    @property
    def is_computed(self) -> bool:
        """False: the window lay below the level gate, and the network did not run.

        Its scores are zero, and its spans empty.  Or, where several models listen, one
        of them lacked its beginning: those of its labels are.
        """
        return all(start < stop for start, stop in self.spans)


@dataclass(frozen=True, slots=True)
class Gap:
    """The samples [start, stop), or some of them, were lost before the analysis.

    The reason "fragmented" means that the sound between losses was too short for a
    window.  In an "overload", windows that end in it were left out; its samples are
    part of the windows around them, and events go on.
    """

    source: str
    start: int
    stop: int
    reason: GapReason
    left_out: int | None = None
    """The sum of several losses in it, or of what the missing windows of an overload
    add; None: all, or unknown."""

    @property
    def is_partial(self) -> bool:
        """True if windows and events may go on in it."""
        return self.reason == "overload" or self.left_out is not None


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source opened, broke, or ended; `detail` is a sentence for the operator."""

    source: str
    state: SourceStateName
    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """A health problem of a source or of the monitor is raised or cleared.

    Raised after it has lasted for a while, and cleared after it has been away for a
    while, so that it does not chatter.  Each `raised` is followed by its `cleared`, at
    the latest when the monitor stops.
    """

    source: str
    """Name, or `EVERY_SOURCE`: then samples count from the monitor's start."""

    start: int
    """Sample at which the problem began."""

    stop: int
    """Sample at which it was reported; if cleared, at which it ended."""

    kind: HealthKind
    state: HealthState
    detail: str
    """Sentence for the operator, maybe empty."""

    id: str
    """Id, the same for `raised` and `cleared` of one period."""


PlacedRecord = ScoreFrame | Onset | Event | Gap | Health
"""A record about the samples [start, stop)."""

Record = PlacedRecord | SourceState


@dataclass(frozen=True, slots=True)
class Timed:
    """A record with its place on the wall clock, as sinks get it.

    A `SourceState` has the place of the sample from which it holds.
    """

    record: Record
    start_seconds: float
    """Seconds from the opening of the source."""

    end_seconds: float
    start_utc: datetime | None
    """Time of the start, UTC; None for a recording whose time is unknown."""

    end_utc: datetime | None

    reported_utc: datetime | None = field(default=None, compare=False)
    """Time at which it was handed to the sinks, UTC; None: now."""

    @property
    def left_out_seconds(self) -> float | None:
        """Of a gap of several losses or an overload, their sum; else None."""
        gap = self.record
        if not isinstance(gap, Gap) or gap.left_out is None:
            return None
        share = gap.left_out / (gap.stop - gap.start)
        return share * (self.end_seconds - self.start_seconds)
