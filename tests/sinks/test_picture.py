import subprocess
import sys
from dataclasses import replace
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
    compose,
    draw,
    held,
    pool,
    score_map,
    text_colour,
    tick_step,
    ticks_hz,
)
from monitor.spec import ModelSpec
from tests.support.timed import LABELS, event, samples

SPEC = ModelSpec()
HOP = 48 * SPEC.hop_length
STEP = 4096


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
    count = samples(seconds)
    log_mel = np.full((SPEC.n_mels, SPEC.frames_in(count)), -60, np.float32)
    levels = np.full((2, -(-count // STEP)), -40, np.float32)
    levels[1] += 3
    return Picture(
        title="street.wav",
        spec=SPEC,
        labels=labels,
        samples=count,
        log_mel=log_mel,
        levels=levels,
        level_step=STEP,
        frames=windows(seconds),
        events=events,
        gaps=gaps,
    )


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
    drawn(replace(picture, title="$x^$"), tmp_path)


def test_a_long_title_is_broken_into_lines() -> None:
    figure = compose(replace(recording(5), title="a long name " * 40))
    (title,) = figure.texts
    extent = title.get_window_extent()
    assert 0 < extent.x0 < extent.x1 < figure.bbox.width


def test_of_many_labels_the_highest_are_shown(tmp_path: Path) -> None:
    labels = tuple(f"label-{number}" for number in range(200))
    scores = tuple(number / 200 for number in range(200))
    frame = ScoreFrame("file", 0, 176_640, scores, ((0, 9),) * 200, -40, -40, 40)
    picture = replace(
        recording(4.2, occurrence("label-3", 1, 2), labels=labels), frames=[frame]
    )
    height, _, _ = drawn(picture, tmp_path).shape
    assert height < 1500
    rows = [
        [text.get_text() for text in axes.get_yticklabels()]
        for axes in compose(picture).axes
    ]
    highest = [f"label-{number}" for number in range(201 - MOST_LABELS, 200)]
    assert ["label-3", *highest] in rows  # what was detected is among them
    assert ["label-3"] in rows


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


@pytest.mark.parametrize("seconds", [0.3, 4.1, 30.0, 3600.0])
def test_no_panel_is_blank_at_the_beginning_or_at_the_end(
    seconds: float, tmp_path: Path
) -> None:
    """Log-mel, scores and level reach from one edge of the panels to the other."""
    picture = recording(seconds, occurrence("siren", 0, seconds))
    log_mel, scores, *_, level = (
        axes for axes in compose(picture).axes if axes.get_title("left")
    )
    left, right = (round(x) for x in log_mel.get_window_extent().intervalx)
    dots = drawn(picture, tmp_path)
    height = len(dots)
    top, bottom = (
        height - round(y) for y in log_mel.get_window_extent().intervaly[::-1]
    )
    inside = dots[top + 3 : bottom - 3, left + 2 : right - 2]
    assert (inside.max(axis=(0, 2)) < 0.99).all()
    top, bottom = (
        height - round(y) for y in scores.get_window_extent().intervaly[::-1]
    )
    columns = dots[top + 3 : bottom - 3, left + 2 : right - 2, 0].min(axis=0)
    assert (columns < 0.99).all() == (seconds >= 4)
    top, bottom = (height - round(y) for y in level.get_window_extent().intervaly[::-1])
    panel = dots[top + 3 : bottom - 3]
    orange = np.flatnonzero((panel[..., 0] - panel[..., 2] > 0.3).any(axis=0))
    assert orange[0] - left <= 2
    assert right - orange[-1] <= 2


def test_the_last_scores_hold_to_the_end_of_the_recording() -> None:
    """But not over samples that were lost."""
    frames = windows(6.0)
    stop = frames[-1].stop
    for rest, is_held in ((HOP - 1, True), (HOP, False)):
        frames_held = held(frames, stop + rest)
        scores = score_map(frames_held, len(LABELS), stop + rest, 100)
        assert np.isfinite(scores).all() == is_held
    assert held(frames, stop) == frames


def test_text_on_a_bar_can_be_read() -> None:
    """Its contrast is that of WCAG 2 for small text, 4.5."""
    for number in range(10):
        colour = f"C{number}"
        assert _contrast(text_colour(colour), colour) >= 4.5


def _contrast(one: str, other: str) -> float:
    low, high = sorted(
        sum(
            weight
            * (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
            for weight, part in zip((0.2126, 0.7152, 0.0722), to_rgb(name), strict=True)
        )
        for name in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("length", [4, 90])
def test_text_stays_in_its_bar_or_in_the_gap_behind_it(length: int) -> None:
    """Whatever room the names of the labels take."""
    name = "x" * length
    picture = recording(
        60,
        *(occurrence(name, start, 0.1 + start / 6) for start in range(0, 60, 12)),
        occurrence("siren", 57, 3),
        labels=(name, *LABELS[1:]),
    )
    figure = compose(picture)
    (axes,) = (each for each in figure.axes if each.get_title("left") == "events")
    assert axes.texts
    extents = [text.get_window_extent() for text in axes.texts]
    panel = axes.get_window_extent()
    bars = [
        axes.transData.transform_bbox(path.get_extents())
        for bars in axes.collections
        for path in bars.get_paths()
    ]
    for extent in extents:
        assert panel.x0 <= extent.x0 < extent.x1 <= panel.x1
        for bar in bars:
            inside = bar.x0 <= extent.x0 and extent.x1 <= bar.x1
            assert inside or not bar.overlaps(extent)


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
