import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.records import ScoreFrame
from monitor.sinks.picture_data import (
    band_of,
    clock,
    hop_edges,
    pool,
    score_map,
    tick_step,
    ticks_hz,
)
from monitor.spec import ModelSpec
from tests.support.timed import LABELS, samples
from tests.support.windows import HOP, SPEC, score_frame, windows


@given(count=st.integers(1, 300), most=st.integers(1, 50), data=st.data())
def test_a_short_sound_stays_visible_where_it_is(
    count: int, most: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, count - 1))
    values = np.full((2, count), -100, np.float32)
    values[1, place] = -3
    pooled = pool(values, most)
    assert pooled.shape == (2, min(count, most))
    assert pooled[1].max() == -3
    width = 1 / pooled.shape[1]
    found = int(pooled[1].argmax()) * width
    assert found - 1 / count <= place / count <= found + width


def test_a_score_stands_where_its_label_was_active() -> None:
    """Four windows hear a sound in [4, 5) s; three of them also score it low."""
    sound = (samples(4), samples(5))
    frames = [
        score_frame(index, {"siren": score}, sound)
        for index, score in ((3, 0.3), (4, 0.9), (5, 0.8), (6, 0.2))
    ]
    scores = score_map(frames, len(LABELS), samples(8), 80)[LABELS.index("siren")]
    assert scores[40:50] == pytest.approx(0.9)
    assert scores[20:39] == pytest.approx(0.0)
    assert np.isnan(scores[:15]).all()
    assert np.isnan(scores[75:]).all()


@settings(max_examples=50)
@given(
    columns=st.integers(1, 40),
    total=st.integers(1, 200),
    start=st.integers(0, 199),
    length=st.integers(0, 50),
)
def test_even_the_shortest_stretch_shows_its_score(
    columns: int, total: int, start: int, length: int
) -> None:
    start = min(start, total - 1)
    stop = min(total, start + length)
    frame = ScoreFrame("a", 0, total, (0.7,), ((start, stop),), -40, -40, 40)
    scores = score_map([frame], 1, total, columns)
    assert np.nanmax(scores) == pytest.approx(0.7)


def test_the_level_of_a_window_stands_at_its_newest_hop() -> None:
    edges = hop_edges(windows(6.0))
    assert edges == [SPEC.window_samples + HOP * index for index in range(-1, 4)]
    assert hop_edges(windows(4.1)) == [SPEC.window_samples - 1, SPEC.window_samples]


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        (2.0, ["0:00.0", "0:00.2", "0:00.4"]),
        (60.0, ["0:00", "0:05", "0:10"]),
        (7200.0, ["0:00", "10:00", "20:00", "30:00", "40:00", "50:00", "1:00:00"]),
    ],
)
def test_times_are_round_and_as_precise_as_needed(
    seconds: float, ticks: list[str]
) -> None:
    step = tick_step(seconds)
    assert [clock(index * step, step) for index in range(len(ticks))] == ticks


@given(st.floats(0.01, 1e6))
def test_there_are_never_more_times_than_fit(seconds: float) -> None:
    if seconds <= 14 * 28_800:
        assert seconds / tick_step(seconds) <= 14


def test_bands_are_even_on_the_mel_scale() -> None:
    """Band k peaks where k stands, as in the filter bank of the front end."""
    from torchaudio.functional import melscale_fbanks

    bank = melscale_fbanks(
        20_001, SPEC.f_min, SPEC.f_max, SPEC.n_mels, 40_000, mel_scale="slaney"
    )
    for band, hertz in enumerate(bank.argmax(dim=0).tolist()):
        assert band_of(hertz, SPEC) == pytest.approx(band, abs=0.05)


def test_frequencies_do_not_stand_on_top_of_each_other() -> None:
    assert ticks_hz(SPEC) == [8000, 4000, 2000, 1000, 500, 200]
    assert ticks_hz(ModelSpec(f_min=0.0, f_max=22_050.0, n_mels=128))[0] == 16_000
