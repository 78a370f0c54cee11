"""Records on the wall clock, as sinks get them, with sensible defaults."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from monitor.records import (
    Event,
    Gap,
    GapReason,
    Ongoing,
    Onset,
    Record,
    ScoreFrame,
    SourceState,
    SourceStateName,
    Timed,
)
from monitor.statistics import Listened, SourceStatistics, Statistics

SAMPLE_RATE = 44_100
OPENED = datetime(2026, 11, 23, 5, 56, 0, 0, UTC)
LABELS = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)


def timed(record: Record, opened: datetime | None = OPENED) -> Timed:
    """Put a record on the clock of a source that was opened at `opened`."""
    if isinstance(record, SourceState):
        return Timed(record, 0.0, 0.0, opened, opened)
    start, end = record.start / SAMPLE_RATE, record.stop / SAMPLE_RATE
    if opened is None:
        return Timed(record, start, end, None, None)
    return Timed(
        record,
        start,
        end,
        opened + timedelta(seconds=start),
        opened + timedelta(seconds=end),
    )


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def frame(
    source: str = "street",
    stop_seconds: float = 4.0,
    scores: dict[str, float] | None = None,
    level_dbfs: float = -32.4,
    ongoing: Sequence[str] = (),
) -> Timed:
    """The window that ends at `stop_seconds`; labels not named score 0.02."""
    stop = samples(stop_seconds)
    start = stop - samples(4.005)
    given = scores or {}
    return timed(
        ScoreFrame(
            source=source,
            start=start,
            stop=stop,
            scores=tuple(given.get(label, 0.02) for label in LABELS),
            spans=((start, stop),) * len(LABELS),
            level_dbfs=level_dbfs,
            peak_level_dbfs=level_dbfs + 6,
            laeq_db=level_dbfs + 84.5,
            ongoing=tuple(_ongoing(source, label) for label in ongoing),
        )
    )


def _ongoing(source: str, label: str) -> Ongoing:
    record = onset(source, label).record
    assert isinstance(record, Onset)
    return Ongoing(**asdict(record), hits=3, windows=4)


def onset(
    source: str = "street",
    label: str = "siren",
    start_seconds: float = 13.4,
    number: int = 1,
    opened: datetime | None = OPENED,
) -> Timed:
    start = samples(start_seconds)
    return timed(
        Onset(
            id=f"session-{source}-{number}",
            source=source,
            label=label,
            start=start,
            stop=start + samples(1.2),
            peak_score=0.93,
            mean_score=0.81,
            level_dbfs=-21.04,
            laeq_db=63.2,
            top=((label, 0.93), ("car_horn", 0.2), ("street_music", 0.1)),
            model="urban",
        ),
        opened,
    )


def event(
    source: str = "street",
    label: str = "siren",
    start_seconds: float = 13.4,
    seconds: float = 6.7,
    number: int = 1,
    opened: datetime | None = OPENED,
) -> Timed:
    start = samples(start_seconds)
    return timed(
        Event(
            id=f"session-{source}-{number}",
            source=source,
            label=label,
            start=start,
            stop=start + samples(seconds),
            peak_score=0.93456,
            mean_score=0.81234,
            level_dbfs=-21.04,
            laeq_db=63.26,
            top=((label, 0.93456), ("car_horn", 0.2), ("street_music", 0.1)),
            model="urban",
            end_reason="offset",
        ),
        opened,
    )


def gap(
    source: str = "street",
    start_seconds: float = 30.0,
    seconds: float = 2.3,
    reason: GapReason = "unplugged",
) -> Timed:
    start = samples(start_seconds)
    return timed(Gap(source, start, start + samples(seconds), reason))


def state(
    source: str = "street", name: SourceStateName = "listening", detail: str = ""
) -> Timed:
    return timed(SourceState(source, name, detail))


def statistics(
    *sources: str,
    captured_seconds: float = 60.0,
    lost_seconds: float = 0.0,
    gaps: int = 0,
    state: SourceStateName = "listening",
    latency: tuple[float, float] = (0.121, 0.183),
    real_time_factor: float = 0.021,
    idle_seconds: float = 0.0,
    listened: Listened | None = None,
) -> Statistics:
    return Statistics(
        sources=tuple(
            SourceStatistics(
                source,
                state,
                samples(captured_seconds),
                samples(lost_seconds),
                gaps,
                0,
                listened=listened or Listened(),
                idle_seconds=idle_seconds,
            )
            for source in sources
        ),
        latency_seconds_p50=latency[0],
        latency_seconds_p95=latency[1],
        real_time_factor=real_time_factor,
    )
