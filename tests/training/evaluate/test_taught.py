"""The figures of taught labels: the class is left out, and places are halved."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.evaluate.taught import (
    FEWEST_CLIPS,
    Material,
    classes_of,
    evaluate_class,
    main,
)

FEATURES = 8
CLASSES = ("bell", "drum", "rain")


def material(separation: float) -> Material:
    """Classes that lie `separation` apart in noise; a place of rain is one of rain."""
    rng = np.random.default_rng(0)
    count = FEWEST_CLIPS + 4
    classes = np.repeat(CLASSES, count)
    centres = separation * np.eye(FEATURES)[: len(CLASSES)]
    clips = np.arange(len(classes)).repeat(2)
    means = centres[np.arange(len(classes)) // count][clips]
    places = np.array([f"place{number}" for number in range(7)] + ["light_rain"])
    in_places = np.arange(len(places)).repeat(90)
    place_means = np.where((in_places == 7)[:, None], centres[2], 0.0)

    def noisy(values: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal(values.shape)
        return (values + noise).astype(np.float32)

    return Material(
        clips,
        noisy(means),
        classes,
        np.arange(len(classes)) % 3 + 1,
        noisy(place_means),
        in_places,
        places,
        places,
    )


def test_a_class_that_stands_out_is_found_and_places_are_quiet() -> None:
    figures = evaluate_class(material(20.0), "bell", 5, 0)
    assert figures.average_precision == pytest.approx(1)
    assert figures.half_alarms_per_hour == 0
    assert figures.detected > 0.9


def test_noise_is_found_by_chance_alone() -> None:
    figures = evaluate_class(material(0.0), "bell", 5, 0)
    assert figures.average_precision < 0.6
    assert figures.half_alarms_per_hour > 10


def test_places_in_which_the_class_sounds_do_not_count() -> None:
    assert evaluate_class(material(20.0), "rain", 5, 0).half_alarms_per_hour == 0


def test_classes_that_no_place_is_named_after_come_first() -> None:
    assert classes_of(material(1.0)) == ["bell", "drum", "rain"]


def test_what_was_kept_is_evaluated_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    material(20.0).save(tmp_path / "kept.npz")
    keep = str(tmp_path / "kept.npz")
    assert main(["sounds", "--places", "places.csv", "--keep", keep]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == [*CLASSES, "first 20", "all 3"]
    assert lines[-1]["average_precision"] > 0.9
