"""Records of the stages: score frames, onsets, events, gaps, states, health.

Every `start` and `stop` is an absolute sample index at the model's sample rate, counted
from the opening of the source; `stop` is exclusive.  Only a `Timed` record knows what
the clock on the wall says.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

SourceStateName = Literal["opening", "listening", "waiting", "ended"]

GapReason = Literal[
    "overrun",  # the worker was too slow, and the ring was overwritten
    "stalled",  # the source was open but delivered nothing
    "ended",  # the source closed its stream, or its process exited
    "unplugged",  # the source could not be opened again at once
    "invalid",  # the source delivered samples that are not finite numbers
    "reloaded",  # the source was opened anew because of a new configuration
]

EndReason = Literal[
    "offset",  # the score fell, which is how a sound usually ends
    "stopped",  # the monitor was stopped
    "end-of-input",  # the recording was over
    "interrupted",  # the monitor was killed, or the power failed
    "reloaded",  # a new configuration has another model, or no such source any more
    "overrun",
    "stalled",
    "ended",
    "unplugged",
    "invalid",
]

HealthKind = Literal[
    "clipping",  # full scale is reached again and again: the gain is too high
    "dc-offset",  # the samples do not swing around zero
    "dead-channel",  # one of two channels is silent
    "stuck-channel",  # a channel delivers one and the same value, which is not zero
    "digital-silence",  # there is nothing but zeros
    "noise-floor",  # even the quiet moments are far quieter than they ever were
    "deaf",  # the source is not listened to, whatever the reason
    "canary",  # a known sound that was mixed in did not come out
    "overload",  # the analysis does not keep up
    "compute-device",  # the processor of the network failed; another one goes on
    "disk",  # what was heard cannot be stored
]

HealthState = Literal["raised", "cleared"]

EVERY_SOURCE = "*"
"""Source of what concerns the monitor as a whole; no source can have this name."""

LabelScore = tuple[str, float]


@dataclass(frozen=True, slots=True)
class ScoreFrame:
    """What the network made of one window, and how loud its newest hop was."""

    source: str
    start: int
    stop: int
    scores: tuple[float, ...]
    """One for each label of the model, in its order, in [0, 1]."""

    spans: tuple[tuple[int, int], ...]
    """For each label the stretch [start, stop) of the window that carries its score."""

    level_dbfs: float
    """Root mean square of the newest hop over all channels, dB re 1.0."""

    peak_level_dbfs: float
    """The loudest hop of the window, dB re 1.0."""

    laeq_db: float
    """A-weighted equivalent level of the newest hop, dB."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One occurrence of a label, as far as it is known."""

    id: str
    """The same for the onset and the event of one occurrence."""

    source: str
    label: str
    start: int
    """Where the sound began: an estimate from the network's activity over time."""

    stop: int
    """Where it ended; for an onset, the end of the window that told it."""

    peak_score: float
    mean_score: float
    level_dbfs: float
    """Loudest hop so far, dBFS."""

    laeq_db: float
    """A-weighted equivalent level over the hops so far, dB."""

    top: tuple[LabelScore, ...]
    """The three highest scores of the window with the peak score, highest first."""

    model: str
    """Name of the model that heard it."""


@dataclass(frozen=True, slots=True)
class Onset(Occurrence):
    """A label has begun.  Told at once; `start` may still move until the event."""


@dataclass(frozen=True, slots=True)
class Event(Occurrence):
    """A label has ended: the stretch [start, stop) in which it was heard.

    Overlapping windows score a sound from soon after it enters the newest window until
    it leaves the oldest, four seconds after it ended.  So a run of windows does not
    stand for its own extent: the event reaches from the first to the last moment at
    which the network was active for the label in the windows of the run.

    * A window counts if its score is at or above the offset threshold.  The run begins
      with the first such window among those that were averaged over.
    * A moment is active if half of the windows that count and cover it say so; a window
      that starts after the begin of the sound, or stops before its end, has no say.
    * `start` is at most half a window earlier than the newest hop of the first window:
      the window before did not count.  It is never in the refractory time of the event
      before.
    * An event is over as soon as the last active moment lies `min_duration_off` back.
      What the windows still hold of it begins nothing new: so two shots are two events
      if the pause between them is longer.  Repetitions with shorter pauses are one.
    * The means and peaks are those of the windows that count, before smoothing; the
      levels those of the hops that have a sample in [start, stop).

    On a clean background both ends are within 0.75 s of the truth; the span of a window
    is known to 0.19 s.
    """

    end_reason: EndReason


@dataclass(frozen=True, slots=True)
class Gap:
    """The samples [start, stop) were lost before they could be analysed."""

    source: str
    start: int
    stop: int
    reason: GapReason


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source opened, broke, or ended; `detail` is a sentence for the operator."""

    source: str
    state: SourceStateName
    detail: str


@dataclass(frozen=True, slots=True)
class Health:
    """Something is wrong with a source, or with the monitor; or it is over.

    Raised after it lasted for a while, and cleared after it was away for a while, so
    that it does not chatter.  Each `raised` is followed by its `cleared`, at the latest
    when the monitor stops.
    """

    source: str
    """Its name, or `EVERY_SOURCE`: then samples count from the monitor's start."""

    start: int
    """Where it began."""

    stop: int
    """Where it was told; of `cleared`, where it ended."""

    kind: HealthKind
    state: HealthState
    detail: str
    """A sentence for the operator, maybe empty."""

    id: str
    """The same for `raised` and `cleared` of one period."""


PlacedRecord = ScoreFrame | Onset | Event | Gap | Health
"""A record of a stretch of samples."""

Record = PlacedRecord | SourceState


@dataclass(frozen=True, slots=True)
class Timed:
    """A record with its place on the wall clock, in the form in which sinks get it.

    A `SourceState` stands for one moment, the sample from which on it holds.
    """

    record: Record
    start_seconds: float
    """Seconds from the opening of the source."""

    end_seconds: float
    start_utc: datetime | None
    """None for a recording whose time is unknown."""

    end_utc: datetime | None
