"""The picture of a recording shows what is in it, where it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monitor.commands.picture import Picture, band_of, draw, pool
from monitor.model.frontend import LogMel
from monitor.records import Event, ScoreFrame
from monitor.spec import ModelSpec
from tests.support.signals import sine

SPEC = ModelSpec()
LABELS = ("siren", "drilling")


@pytest.mark.parametrize("hertz", [300, 1000, 2500, 8000])
def test_a_frequency_stands_where_its_sine_is_loudest(hertz: float) -> None:
    log_mel = LogMel(SPEC)(torch.from_numpy(sine(hertz, 0.1)))[0].numpy()
    loudest = int(log_mel.mean(axis=1).argmax())
    assert loudest <= band_of(hertz, SPEC) + 0.5
    assert band_of(hertz, SPEC) - 0.5 <= loudest + 1


@given(st.integers(1, 300), st.integers(1, 50), st.data())
def test_a_short_sound_stays_visible_in_a_long_recording(
    frames: int, most: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, frames - 1))
    log_mel = np.full((2, frames), -100, np.float32)
    log_mel[1, place] = -3
    pooled = pool(log_mel, most)
    assert pooled.shape[1] <= most
    assert pooled.max() == -3
    found = int(pooled[1].argmax()) / pooled.shape[1]
    assert abs(found - place / frames) <= 2 / pooled.shape[1]


def event(label: str) -> Event:
    return Event(
        id="1",
        source="a",
        label=label,
        start=10_000,
        stop=90_000,
        peak_score=0.9,
        mean_score=0.8,
        level_dbfs=-20.0,
        laeq_db=-20.0,
        top=(),
        model="m",
        end_reason="offset",
    )


def score_frame(index: int) -> ScoreFrame:
    start = index * 48 * SPEC.hop_length
    stop = start + SPEC.window_samples
    return ScoreFrame("a", start, stop, (0.1, 0.9), ((0, 0), (0, 0)), -20, -20, -20)


@pytest.mark.parametrize(("windows", "frames"), [(0, 0), (0, 1), (1, 344), (5, 700)])
def test_a_recording_of_any_length_can_be_drawn(
    windows: int, frames: int, tmp_path: Path
) -> None:
    picture = Picture(
        title=r"street $\frac$.wav",
        spec=SPEC,
        labels=LABELS,
        log_mel=np.full((SPEC.n_mels, frames), -50, np.float32),
        frames=[score_frame(index) for index in range(windows)],
        events=[event("siren")][:windows],
    )
    draw(picture, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
