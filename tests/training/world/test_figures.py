"""Thresholds come from places, and their figures from places that did not set them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from monitor.errors import DatasetError
from monitor.model.thresholds import CURVE_POINTS
from monitor.records import ScoreFrame
from monitor.spec import ModelSpec
from training.data.places import PLACE_PARTS
from training.evaluate.in_places import PlaceScores
from training.streams.metrics import Reference
from training.streams.scored import ScoredStream
from training.world.catalogue import Entry
from training.world.figures import (
    HIGHEST_ONSET,
    LOWEST_ONSET,
    MARGIN,
    NEXT_MARGIN,
    LabelInPlaces,
    ScoredPlaces,
    clip_figures,
    summary,
)

SPEC = ModelSpec()
HOP = 48 * SPEC.hop_length
HOP_SECONDS = HOP / SPEC.sample_rate
COUNT = 60
"""Windows of a place."""

DOG = Entry(text="A dog.", classes=("Dog",), clips=("dog",), places=("kennel",))


@dataclass(frozen=True)
class Labels:
    """What figures need of models."""

    labels: tuple[str, ...] = ("rain", "dog")
    spec: ModelSpec = SPEC


def stream(
    name: str, scores: Sequence[float], references: Sequence[Reference] = ()
) -> ScoredStream:
    """Windows with the scores of the label `dog`; `rain` sounds all the time."""
    frames = []
    for index, score in enumerate(scores):
        start = index * HOP
        stop = start + SPEC.window_samples
        span = (stop - HOP, stop)
        frames.append(
            ScoreFrame(
                "s", start, stop, (0.95, score), (span, span), -20.0, -20.0, 60.0
            )
        )
    return ScoredStream(tuple(references), tuple(frames), name)


def place(name: str, top: float, low: float = 0.01) -> ScoredStream:
    """A place in which the label scores `top` for ten windows."""
    scores = np.full(COUNT, low)
    scores[20:30] = top
    return stream(name, scores.tolist())


def in_places(
    *parts: Sequence[ScoredStream], events: Sequence[ScoredStream] = ()
) -> ScoredPlaces:
    """Scores of places, those of each part; the events are in places of the first."""
    padded = [*parts, *[()] * (PLACE_PARTS - len(parts))]
    return ScoredPlaces(
        tuple(
            PlaceScores(number, tuple(alone), tuple(events) if number == 0 else ())
            for number, alone in enumerate(padded)
        ),
        hours=1.0,
    )


def dog_in(scored: ScoredPlaces, entry: Entry = DOG) -> LabelInPlaces:
    return LabelInPlaces("dog", entry, scored, Labels())


def moved(score: float, logits: float) -> float:
    return float(1 / (1 + (1 - score) / score * np.exp(-logits)))


QUIET = [[place(f"{part}{number}", 0.2) for number in "ab"] for part in range(4)]


def test_the_threshold_lies_a_margin_above_the_highest_score_in_places() -> None:
    assert dog_in(in_places(*QUIET)).onset() == pytest.approx(
        moved(0.2, MARGIN), abs=1e-4
    )


def test_one_odd_place_does_not_silence_a_label() -> None:
    odd = [*QUIET[0], place("odd", 0.99)]
    found = dog_in(in_places(odd, *QUIET[1:])).onset()
    assert found == pytest.approx(moved(0.2, NEXT_MARGIN), abs=1e-4)
    # Two of them do.
    odd.append(place("odd too", 0.99))
    assert dog_in(in_places(odd, *QUIET[1:])).onset() == HIGHEST_ONSET


def test_a_label_that_no_place_scores_has_the_lowest_threshold() -> None:
    silent = [[place(f"{part}{number}", 0.01) for number in "ab"] for part in range(4)]
    assert dog_in(in_places(*silent)).onset() == LOWEST_ONSET


def test_places_in_which_the_label_may_sound_say_nothing_about_it() -> None:
    kennels = [place("Big-Kennel", 0.9), place("kennel at night", 0.9)]
    found = dog_in(in_places([*QUIET[0], *kennels], *QUIET[1:]))
    alone = dog_in(in_places(*QUIET))
    assert found.thresholds() == alone.thresholds()
    assert DOG.may_sound_in("Big-Kennel")
    assert not DOG.may_sound_in("harbour")
    other = DOG.model_copy(update={"places": ()})
    assert dog_in(in_places([*QUIET[0], *kennels], *QUIET[1:]), other).onset() > 0.8


def test_the_rate_of_a_part_is_that_of_a_threshold_from_the_others() -> None:
    loud = [place("x", 0.6), place("y", 0.6)]
    found = dog_in(in_places(loud, *QUIET[1:]))
    # All places together give a threshold that no place reaches.
    assert found.onset() > 0.6 > found.onset(without=0)
    thresholds = found.thresholds()
    hours = 8 * (COUNT - 1) * HOP_SECONDS / 3600 + 8 * SPEC.seconds(
        SPEC.window_samples
    ) / (3600)
    assert thresholds.false_alarms_per_hour == pytest.approx(2 / hours)
    assert dog_in(in_places(*QUIET)).thresholds().false_alarms_per_hour == 0


def test_too_few_places_are_an_error_that_names_the_label() -> None:
    few = in_places([QUIET[0][0]], [QUIET[1][0]])
    with pytest.raises(DatasetError, match=r"--places: 1 recording can .* of dog,"):
        dog_in(few)
    kennels = [[place(f"kennel {part}", 0.2)] for part in range(4)]
    with pytest.raises(DatasetError, match="--places: 0 recordings"):
        dog_in(in_places(*kennels))


def test_the_curve_falls_and_has_the_threshold_in_its_middle() -> None:
    thresholds = dog_in(in_places(*QUIET)).thresholds()
    onsets = [point.onset for point in thresholds.curve]
    assert len(onsets) == CURVE_POINTS == 11
    assert all(high > low for high, low in pairwise(onsets))
    assert onsets[5] == thresholds.onset > thresholds.offset
    rates = [point.false_alarms_per_hour for point in thresholds.curve]
    assert rates == sorted(rates)
    assert all(
        point.false_alarms_per_hour_at_most > point.false_alarms_per_hour
        for point in thresholds.curve
    )


def event(hop: int, snr_db: float, label: str = "dog") -> Reference:
    """An event whose first window is that of a hop."""
    end = SPEC.seconds(SPEC.window_samples) + hop * HOP_SECONDS
    return Reference(end - HOP_SECONDS, end + 9 * HOP_SECONDS, label, snr_db)


def test_events_are_detected_near_and_far_and_those_of_other_clips_do_not_count() -> (
    None
):
    scores = np.full(COUNT, 0.01)
    scores[10:20] = 0.9  # the near one; the far one is too faint
    events = [event(10, 15.0), event(40, 8.0), event(50, 15.0, "cat")]
    scored = in_places(*QUIET, events=[stream("scene", scores.tolist(), events)])
    point = dog_in(scored).thresholds().curve[5]
    assert (point.detected_near, point.detected_far) == (1.0, 0.0)
    assert point.latency_seconds is not None
    assert 0 < point.latency_seconds < 6
    unmeasured = dog_in(scored, DOG.model_copy(update={"clips": ()}))
    point = unmeasured.thresholds().curve[5]
    assert (point.detected_near, point.detected_far) == (None, None)
    found = summary({"dog": dog_in(scored).thresholds()})
    assert (found["detected_near"], found["detected_far"]) == (1.0, 0.0)


def test_clips_that_may_have_the_label_do_not_count() -> None:
    names = ["dog", "dog", "wolf", "cat", "cat"]
    scores = np.array([0.8, 0.3, 0.9, 0.2, 0.1], np.float32)
    entry = Entry(text="A dog.", classes=("Dog",), clips=("dog",), also=("wolf",))
    found = clip_figures(scores, names, entry, 0.5)
    assert found is not None
    assert (found.clips, found.average_precision, found.detected) == (2, 1.0, 0.5)
    strict = entry.model_copy(update={"also": ()})
    found = clip_figures(scores, names, strict, 0.5)
    assert found is not None
    assert found.average_precision < 0.8
    none = entry.model_copy(update={"clips": ("bird",)})
    assert clip_figures(scores, names, none, 0.5) is None
