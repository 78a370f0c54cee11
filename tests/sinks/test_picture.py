import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from numpy.typing import NDArray

from monitor.records import Event, Gap, ScoreFrame
from monitor.sinks.picture import (
    MOST_LABELS,
    Picture,
    band_of,
    clock,
    draw,
    hop_edges,
    pool,
    score_map,
    tick_step,
    ticks_hz,
)
from monitor.spec import ModelSpec
from tests.support.timed import LABELS, event, samples

SPEC = ModelSpec()
HOP = 48 * SPEC.hop_length


def score_frame(
    index: int, scores: dict[str, float], span: tuple[int, int]
) -> ScoreFrame:
    start = index * HOP
    return ScoreFrame(
        source="file",
        start=start,
        stop=start + SPEC.window_samples,
        scores=tuple(scores.get(label, 0.1) for label in LABELS),
        spans=(span,) * len(LABELS),
        level_dbfs=-40.0,
        peak_level_dbfs=-40.0,
        laeq_db=45.0,
    )


def windows(seconds: float) -> list[ScoreFrame]:
    count = max(0, (samples(seconds) - SPEC.window_samples) // HOP + 1)
    return [
        score_frame(index, {}, (index * HOP, index * HOP + SPEC.window_samples))
        for index in range(count)
    ]


def occurrence(label: str, start: float, seconds: float, number: int = 1) -> Event:
    record = event("file", label, start, seconds, number).record
    assert isinstance(record, Event)
    return record


def recording(
    seconds: float,
    *events: Event,
    labels: tuple[str, ...] = LABELS,
    gaps: tuple[Gap, ...] = (),
) -> Picture:
    frames = SPEC.frames_in(samples(seconds))
    log_mel = np.broadcast_to(np.float32(-60), (SPEC.n_mels, frames))
    return Picture("street.wav", SPEC, labels, log_mel, windows(seconds), events, gaps)


def drawn(picture: Picture, folder: Path) -> NDArray[np.float32]:
    """The picture's dots, shape (height, width, 3), from 0 to 1."""
    path = folder / "picture.png"
    draw(picture, path)
    return np.asarray(imread(path))[..., :3]


def columns_of(dots: NDArray[np.float32], colour: str) -> tuple[int, int]:
    """First and last column in which a colour stands."""
    match = np.abs(dots - np.array(to_rgb(colour))).max(axis=-1) < 0.01
    found = np.flatnonzero(match.any(axis=0))
    return int(found[0]), int(found[-1])


@pytest.mark.parametrize("seconds", [0.0, 2.0, 7200.0])
def test_a_recording_of_any_length_gives_a_picture_of_readable_size(
    seconds: float, tmp_path: Path
) -> None:
    """And a shot is seen in two hours."""
    shots = [occurrence("gun_shot", 3600, 0.3)] if seconds > 3600 else []
    dots = drawn(recording(seconds, *shots), tmp_path)
    if shots:
        first, last = columns_of(dots, "C6")
        assert last > first
    height, width, _ = dots.shape
    assert width == 1500
    assert 500 <= height <= 1500
    assert (tmp_path / "picture.png").stat().st_size < 2**20


def test_an_event_is_a_bar_from_its_start_to_its_end(tmp_path: Path) -> None:
    siren = "C8"  # the ninth label
    whole = columns_of(
        drawn(recording(41, occurrence("siren", 0, 41)), tmp_path), siren
    )
    part = columns_of(
        drawn(recording(41, occurrence("siren", 10, 20)), tmp_path), siren
    )
    width = whole[1] - whole[0]
    assert (part[0] - whole[0]) / width == pytest.approx(10 / 41, abs=0.005)
    assert (part[1] - whole[0]) / width == pytest.approx(30 / 41, abs=0.005)


def test_names_are_drawn_as_they_are_and_never_break_the_picture(
    tmp_path: Path,
) -> None:
    labels = ("$x^$", "犬", "a\nb", "\udc80", *LABELS[4:])
    picture = recording(
        30,
        *(occurrence(label, 3 * number, 2) for number, label in enumerate(labels[:4])),
        labels=labels,
    )
    drawn(picture, tmp_path)


def test_of_many_labels_the_highest_are_shown(tmp_path: Path) -> None:
    labels = tuple(f"label-{number}" for number in range(200))
    scores = tuple(number / 200 for number in range(200))
    frame = ScoreFrame("file", 0, 176_640, scores, ((0, 9),) * 200, -40, -40, 40)
    log_mel = np.zeros((SPEC.n_mels, 400), np.float32)
    height, _, _ = drawn(
        Picture("many", SPEC, labels, log_mel, [frame], []), tmp_path
    ).shape
    assert height < 1500
    assert len(labels) > MOST_LABELS


def test_lost_audio_is_hatched(tmp_path: Path) -> None:
    lost = Gap("file", samples(10), samples(20), "overrun")
    dots = drawn(recording(40, gaps=(lost,)), tmp_path)
    grey = np.abs(dots - 0.85).max(axis=-1) < 0.01
    assert grey.sum() > 50_000


def test_a_file_that_cannot_be_written_is_an_error_of_the_system(
    tmp_path: Path,
) -> None:
    with pytest.raises(OSError, match="No such file"):
        draw(recording(5), tmp_path / "missing" / "picture.png")


def test_matplotlib_is_imported_only_to_draw() -> None:
    code = "import sys, monitor.sinks.picture; print('matplotlib' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


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
    """Four windows contain a sound in [4, 5) s; they score it differently."""
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
def test_even_the_shortest_active_part_shows_its_score(
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
def test_there_are_never_more_ticks_than_fit(seconds: float) -> None:
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
