import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from numpy.typing import NDArray

from monitor.records import Event, Gap, ScoreFrame
from monitor.sinks.picture import MOST_LABELS, Picture, draw
from tests.support.timed import LABELS, event, samples
from tests.support.windows import SPEC, windows


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
