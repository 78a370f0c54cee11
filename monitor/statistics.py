"""Figures of the running monitor: sources, latency, queues, troubles, model.

The worker makes a `Statistics` every 0.25 s, less often when it is late; the sinks that
show or send it only read it.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from monitor.records import EVERY_SOURCE, GapReason, HealthKind, SourceStateName

FRESH_SECONDS = 15.0
"""Age of the latest analysis from which a source is not listened to."""

LEFT_OUT: frozenset[GapReason] = frozenset({"overload", "overrun"})
"""Reasons of gaps that the analysis made, or a device that was not read in time."""

LEAST_LEFT_OUT = 0.001
"""Share of a minute that was left out at least, where a source is analysed in part."""

DEAFENING: frozenset[HealthKind] = frozenset(
    {"digital-silence", "no-signal", "stuck-channel", "repetition", "canary"}
)
"""Troubles with which samples arrive, but a sound would not be detected."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Losses of a source for one reason."""

    reason: GapReason
    gaps: int
    samples: int


@dataclass(frozen=True, slots=True)
class Listened:
    """The share of a period's sound that was analysed: that a scored window covers."""

    seconds: float = 0.0
    """Length of the period."""

    share: float = math.nan
    """Share in [0, 1]; not a number before there was sound."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels of a sound; not a number where they are unknown."""

    dbfs: float = math.nan
    """Root mean square over all channels, dB re 1.0."""

    laeq_db: float = math.nan
    """A-weighted equivalent level, dB."""


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """Result of the latest trial of a source with a known sound."""

    source: str
    at: datetime
    """Time of its end, UTC."""

    ok: bool
    detail: str
    """The fault, for people; empty: none."""

    label: str | None
    """Label of the sound; None: only the network was tried."""

    score: float | None
    """Highest score of the sound; None: the trial ended before."""

    seconds: float
    """Duration of the trial."""


@dataclass(frozen=True, slots=True)
class SourceStatistics:
    """Figures of one source since it was opened."""

    source: str
    state: SourceStateName
    captured_samples: int
    lost_samples: int
    gaps: int
    backlog_samples: int
    detail: str = ""
    """Reason of its state, a sentence for the operator."""

    last_sample: datetime | None = None
    """Arrival of the newest captured sample, UTC; None: none arrived."""

    listened: Listened = Listened()
    listened_day: Listened = Listened()
    """Share of the latest 24 hours, or since the source was opened."""

    left_out: float = 0.0
    """Share of the latest minute that the analysis left out because it was late."""

    losses: tuple[Loss, ...] = ()
    """Losses by reason; they add up to `lost_samples`, and once all are reported to
    `gaps`.
    """

    level: Levels = Levels()
    """Levels of the newest hop."""

    noise_floor: Levels = Levels()
    """Levels that 95 % of the hops of the latest ten minutes exceeded."""

    events: tuple[tuple[str, int], ...] = ()
    """Number of ended events of each label."""

    idle_seconds: float = 0.0
    """Time since its latest window was scored, or since its sound came back after an
    outage; infinite before the first window."""

    silent_seconds: float = 0.0
    """Time since its newest sample came; infinite before the first."""

    is_losing: bool = False
    """Samples were lost since its latest window."""

    def is_analysed(self, age_seconds: float = 0.0) -> bool:
        """Return True if samples are analysed, `age_seconds` after these figures.

        The state alone does not say so: a worker that hangs reports nothing new.
        """
        fresh = self.idle_seconds + age_seconds < FRESH_SECONDS
        return self.state == "listening" and fresh


@dataclass(frozen=True, slots=True)
class Latencies:
    """Histogram of the latencies of all windows, from last sample to records."""

    bounds: tuple[float, ...]
    """Upper bounds, seconds, of all counts but the last."""

    counts: tuple[int, ...]
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """A lasting trouble: a `Health` record that was raised and not cleared."""

    source: str
    kind: HealthKind
    since: datetime | None
    """UTC; None for a recording whose time is unknown."""

    detail: str


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """The model in use."""

    name: str
    labels: tuple[str, ...]
    sample_rate: int
    compute_device: str
    """Device that the network uses: `cpu`, `cuda` or `mps`."""

    failed_compute_device: str | None
    """The device that failed before the fallback to the CPU; None: none did."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of the monitor as of the latest step of its worker."""

    sources: tuple[SourceStatistics, ...]
    latency_seconds_p50: float
    """Median time from a window's last sample to its records; not a number at first."""

    latency_seconds_p95: float
    real_time_factor: float
    """Processing time divided by the duration of the audio processed."""

    latencies: Latencies | None = None
    queues: tuple[tuple[str, int], ...] = ()
    """Lengths of the queues of the sinks, by name."""

    troubles: tuple[Trouble, ...] = ()

    model: ModelStatistics | None = None
    canary: tuple[CanaryResult, ...] = ()
    """Result of the latest trial of each source."""

    def listening(self, age_seconds: float = 0.0) -> dict[str, bool]:
        """Return for each source whether it is listened to: the one definition.

        Samples must arrive and be analysed, `age_seconds` after these figures, and no
        known trouble must hide a sound.  A recording that ended is left out, unless all
        have ended.
        """
        open_sources = [each for each in self.sources if each.state != "ended"]
        return {
            each.source: each.is_analysed(age_seconds)
            and self.deafening(each.source) is None
            for each in open_sources or self.sources
        }

    @property
    def analysed_in_part(self) -> list[SourceStatistics]:
        """Sources of which something was left out lately, the worst first."""
        found = [each for each in self.sources if each.left_out >= LEAST_LEFT_OUT]
        return sorted(found, key=lambda each: each.left_out, reverse=True)

    def deafening(self, source: str) -> Trouble | None:
        """The trouble that would hide a sound of `source`, if there is one."""
        for trouble in self.troubles:
            if trouble.kind in DEAFENING and trouble.source in (source, EVERY_SOURCE):
                return trouble
        return None
