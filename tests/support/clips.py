"""Clips of events as the monitor stores them."""

from datetime import timedelta

import numpy as np

from monitor.sinks.clip_files import Clip
from tests.support.timed import OPENED


def identifier(number: int, source: str = "street") -> str:
    return f"session-{source}-{number}"


def make_clip(number: int, label: str = "siren", event_id: str | None = None) -> Clip:
    begins = OPENED + timedelta(seconds=10 * number - 2)
    noise = np.random.default_rng(number).uniform(-0.5, 0.5, (1, 5 * 8000))
    return Clip(
        event_id=event_id or identifier(number),
        source="street",
        label=label,
        begins=begins,
        captured=0.0,
        sample_rate=8000,
        samples=noise.astype(np.float32),
        event_start=16_000,
        event_stop=24_000,
        cut="the event is longer than the clip",
    )
