"""Sounds put before the judge of a microphone, as the capture and the worker do."""

import numpy as np

from monitor.audio.channel_statistics import CellMeter, Vitals
from monitor.audio.signal_health import HealthJudge
from monitor.config.audio import HealthSettings
from monitor.records import Health, HealthKind, HealthState, ScoreFrame, Timed
from tests.support.signals import Samples
from tests.support.timed import timed

RATE = 8_000
HOLD, CLEAR = 2.0, 4.0
SETTINGS = HealthSettings(hold_seconds=HOLD, clear_seconds=CLEAR)


def judge(settings: HealthSettings = SETTINGS, *, live: bool = True) -> HealthJudge:
    return HealthJudge("street", RATE, settings, session="session", live=live)


def examine(
    *sounds: Samples, by: HealthJudge | None = None, rate: int = RATE
) -> list[Health]:
    """What is told of sounds, one after the other, in one block."""
    return examine_blocks([np.concatenate(sounds, axis=1)], by, rate)


def examine_blocks(
    blocks: list[Samples], by: HealthJudge | None = None, rate: int = RATE
) -> list[Health]:
    by = by or judge()
    meter = CellMeter(rate, blocks[0].shape[0])
    told, stop = [], 0
    for block in blocks:
        for channels in meter.push(block):
            start, stop = stop, stop + round(meter.samples * RATE / rate)
            told += by.push(Vitals(start, stop, channels))
    return told


def outline(told: list[Health]) -> list[tuple[str, str, float, float]]:
    """Kind and state, and from when to when in seconds."""
    return [(it.kind, it.state, it.start / RATE, it.stop / RATE) for it in told]


def hop(stop: int, laeq_db: float, level_dbfs: float = -40.0) -> ScoreFrame:
    """A window that ends at `stop`, whose newest hop is so loud."""
    return ScoreFrame("street", stop, stop, (), (), level_dbfs, level_dbfs, laeq_db)


def as_16_bit(wave: Samples, gain: float = 1.0) -> Samples:
    """Through an amplifier and a converter that clips."""
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
    """A health record on the wall clock."""
    start = round(start_seconds * 44_100)
    stop = start + round(seconds * 44_100)
    name = f"session-{source}-{kind}-{number}"
    return timed(Health(source, start, stop, kind, state, detail, name))
