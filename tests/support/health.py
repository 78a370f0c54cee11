"""Signals and levels put into a signal health, as capture and worker do."""

import numpy as np

from monitor.audio.signal_health import SignalHealth
from monitor.audio.signal_statistics import ChannelMeter, SignalStatistics
from monitor.config.audio import HealthSettings
from monitor.records import Health, HealthKind, HealthState, ScoreFrame, Timed
from tests.support.signals import Samples
from tests.support.timed import timed

RATE = 8_000
HOLD, CLEAR = 2.0, 4.0
SETTINGS = HealthSettings(
    hold_seconds=HOLD, clear_seconds=CLEAR, ignore=("repetition",)
)
"""Without repetition: the same signal is good for several parts of one test."""

GATE_DBFS = -70.0


def signal_health(
    settings: HealthSettings = SETTINGS, *, live: bool = True
) -> SignalHealth:
    return SignalHealth(
        "street",
        RATE,
        settings,
        level_gate_dbfs=GATE_DBFS,
        session="session",
        live=live,
    )


def examine(
    *sounds: Samples, by: SignalHealth | None = None, rate: int = RATE
) -> list[Health]:
    """Return the records of signals, one after the other, in one block."""
    return examine_blocks([np.concatenate(sounds, axis=1)], by, rate)


def examine_blocks(
    blocks: list[Samples], by: SignalHealth | None = None, rate: int = RATE
) -> list[Health]:
    by = by or signal_health()
    meter = ChannelMeter(rate, blocks[0].shape[0])
    records, stop = [], 0
    for block in blocks:
        for _, interval in meter.push(block):
            if interval is not None:
                start, stop = stop, stop + round(meter.samples * RATE / rate)
                channels, period = interval.channels, interval.period_seconds
                records += by.push(SignalStatistics(start, stop, channels, period))
    return records


def outline(records: list[Health]) -> list[tuple[str, str, float, float]]:
    """Return kind, state, and begin and end in seconds."""
    return [(it.kind, it.state, it.start / RATE, it.stop / RATE) for it in records]


def hop(stop: int, laeq_db: float, level_dbfs: float = -40.0) -> ScoreFrame:
    """Return a window that ends at `stop`, whose newest hop has this level."""
    return ScoreFrame("street", stop, stop, (), (), level_dbfs, level_dbfs, laeq_db)


def as_16_bit(wave: Samples, gain: float = 1.0) -> Samples:
    """Pass a wave through an amplifier and a converter that clips."""
    highest = 1 - 2**-15
    return (np.round(np.clip(gain * wave, -1, highest) * 2**15) / 2**15).astype(
        np.float32
    )


def trouble(
    state: HealthState = "raised",
    kind: HealthKind = "clipping",
    source: str = "street",
    start_seconds: float = 20.0,
    seconds: float = 10.0,
    number: int = 1,
    detail: str = "turn the gain down",
) -> Timed:
    """Return a health record on the wall clock."""
    start = round(start_seconds * 44_100)
    stop = start + round(seconds * 44_100)
    name = f"session-{source}-{kind}-{number}"
    return timed(Health(source, start, stop, kind, state, detail, name))
