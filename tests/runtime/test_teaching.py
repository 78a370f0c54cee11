"""A doorbell is taught from a few rings; the report says what to expect of it."""

from collections.abc import Iterable

import numpy as np
import pytest

from monitor.model.negatives import Negatives
from monitor.model.taught import TaughtLabel, sigmoid
from monitor.model.taught_fit import FEWEST_KEPT, Fit, fit
from monitor.runtime.examples import Example, Sound, _levels
from monitor.runtime.last_week import KeptBlock, Week
from monitor.runtime.teaching import Report, TaughtIdentity, teach
from tests.support.doorbell import ROOMS, doorbell, other_sound
from tests.support.taught import KINDS, NETWORK, SPEC, negatives_for, spectrum_embedder

EMBEDDER = spectrum_embedder()
NEGATIVES: Negatives = negatives_for(EMBEDDER)
IDENTITY = TaughtIdentity("doorbell", "spectrum", NETWORK, EMBEDDER.labels)
RATE = SPEC.sample_rate


def example(name: str, samples: np.ndarray, active_seconds: float = 1.0) -> Example:
    samples = samples.astype(np.float32)
    sound = Sound(name, samples, name, active_seconds, _levels(samples, SPEC))
    return EMBEDDER.example(sound)


def rings(count: int, first: int = 0) -> list[Example]:
    """Rings in all rooms, from near to far."""
    rooms = sorted(ROOMS)
    return [
        example(f"ring{n}", doorbell(rooms[n % len(rooms)], 1 + n % 5, RATE, n))
        for n in range(first, first + count)
    ]


def taught_from(count: int = 5, week: Week | None = None) -> tuple[TaughtLabel, Report]:
    return teach(IDENTITY, rings(count), NEGATIVES, week)


def scores_of(taught: TaughtLabel, examples: Iterable[Example]) -> list[float]:
    return [
        float(sigmoid(each.embeddings @ taught.weights + taught.bias).max())
        for each in examples
    ]


@pytest.mark.parametrize("count", [3, 5, 12])
def test_rings_of_other_rooms_and_distances_are_detected(count: int) -> None:
    taught, report = taught_from(count)
    assert report.detected >= count - 1
    assert report.place_alarms == 0
    onset = taught.card.thresholds.onset
    assert np.mean([it >= onset for it in scores_of(taught, rings(9, 100))]) > 0.8
    others = [
        example(kind, other_sound(kind, RATE, seed))
        for kind in KINDS
        for seed in range(900, 905)
    ]
    assert max(scores_of(taught, others)) < onset


def test_the_same_examples_give_the_same_label() -> None:
    (once, _), (again, _) = taught_from(), taught_from()
    np.testing.assert_array_equal(once.weights, again.weights)
    assert (once.bias, once.card) == (again.bias, again.card)


def test_another_sound_among_the_examples_is_said() -> None:
    hum = [example(f"hum{n}", other_sound("hum", RATE, 50 + n)) for n in range(2)]
    _, report = teach(IDENTITY, [*rings(5), *hum], NEGATIVES)
    assert report.others == ("hum0", "hum1")
    assert taught_from(7)[1].others == ()


def test_what_sounds_like_places_is_not_supported() -> None:
    hisses = [example(f"h{n}", other_sound("hiss", RATE, 70 + n)) for n in range(4)]
    _, report = teach(IDENTITY, hisses, NEGATIVES)
    assert not report.is_supported
    assert report.detected == 0
    assert report.place_alarms > 0


def test_alarms_are_counted_where_places_have_the_sound() -> None:
    rings_there = [padded(doorbell("hall", 2.0, RATE, 300 + n)) for n in range(6)]
    embeddings = [EMBEDDER.embed(each)[0] for each in rings_there]
    there = Negatives(
        NEGATIVES.card,
        np.concatenate([NEGATIVES.embeddings, np.array(embeddings)]),
        np.concatenate([NEGATIVES.kinds, np.full(6, len(KINDS) * 2 - 1)]),
    )
    taught, report = teach(IDENTITY, rings(5), there)
    # A head that had seen that place would be silent in most of them.
    assert report.place_alarms == 6
    assert not report.is_supported
    rate = report.alarms_per_hour
    assert taught.card.thresholds.false_alarms_per_hour == rate > 0
    assert report.alarms_per_hour_at_most > rate


def test_short_sounds_are_impulsive_and_long_ones_lasting() -> None:
    assert taught_from()[0].card.preset == "impulsive"
    long = [example(f"r{n}", doorbell("hall", 1 + n, RATE, n), 9.0) for n in range(3)]
    assert teach(IDENTITY, long, NEGATIVES)[0].card.preset == "lasting"


def test_the_curve_goes_from_few_alarms_to_many_detections() -> None:
    thresholds = taught_from()[0].card.thresholds
    rates = [point.false_alarms_per_hour for point in thresholds.curve]
    assert rates == sorted(rates)
    assert thresholds.onset_at(0.5) == thresholds.onset == 0.5
    assert thresholds.curve[0].onset > 0.5 > thresholds.curve[-1].onset


def test_labels_of_the_model_that_the_examples_reach_are_named() -> None:
    loud = [example(f"r{n}", 5 * doorbell("hall", 0.2, RATE, n)) for n in range(3)]
    _, report = teach(IDENTITY, loud, NEGATIVES)
    assert [label for label, _ in report.known] == ["loud"]


def kept(samples: list[np.ndarray], begin: float, source: str = "street") -> KeptBlock:
    embeddings = [EMBEDDER.embed(each[: SPEC.window_samples])[0] for each in samples]
    seconds = begin + 0.5 * np.arange(len(samples))
    return KeptBlock(source, seconds, np.array(embeddings))


def padded(samples: np.ndarray) -> np.ndarray:
    window = 1e-4 * np.random.default_rng(0).standard_normal(SPEC.window_samples)
    window[: len(samples)] = samples[: len(window)]
    return window.astype(np.float32)


def quiet(count: int) -> list[np.ndarray]:
    return [other_sound("hum", RATE, seed, 3.0) for seed in range(count)]


def test_alarms_of_the_last_week_have_source_and_time() -> None:
    ring = [padded(doorbell("kitchen", 2.0, RATE, n)) for n in range(3)]
    week = [
        kept([*quiet(20), *ring, *quiet(10)], 1000.0),
        kept(quiet(12), 1016.5),
        kept([*quiet(2), ring[0]], 500.0, "yard"),
    ]
    _, report = taught_from(5, lambda: week)
    assert report.week is not None
    # The three windows of the ring are one alarm.
    assert [(it.source, it.seconds) for it in report.week.first] == [
        ("yard", 501.0),
        ("street", 1010.0),
    ]
    assert report.week.alarms == 2
    assert report.week.hours == pytest.approx(48 * 0.5 / 3600)


def test_the_label_in_the_last_week_does_not_unteach_it() -> None:
    ring = [padded(doorbell("kitchen", 2.0, RATE, n)) for n in range(60)]
    silence = kept(quiet(FEWEST_KEPT + 20), 0.0).embeddings.astype(np.float64)
    rung = kept(ring, 0.0).embeddings.astype(np.float64)
    clips = [each.embeddings for each in rings(5)]
    alone = fit(clips, NEGATIVES)
    without = fit(clips, NEGATIVES, silence)
    assert not np.array_equal(alone.head.weights, without.head.weights)
    # The rings are left out of the negatives, to the last one.
    there = fit(clips, NEGATIVES, np.concatenate([silence, rung]))
    np.testing.assert_array_equal(there.head.weights, without.head.weights)


def test_a_week_without_windows_changes_nothing() -> None:
    taught, report = taught_from(5, list)
    np.testing.assert_array_equal(taught.weights, taught_from()[0].weights)
    assert report.week is not None
    assert (report.week.alarms, report.week.hours) == (0, 0)


def test_each_hour_of_the_week_is_judged_by_a_head_that_did_not_see_it() -> None:
    clips = [each.embeddings for each in rings(5)]
    alone = fit(clips, NEGATIVES)
    ring = np.mean([clip.mean(axis=0) for clip in clips], axis=0)
    share = alone.levels.threshold / alone.head(ring[None])[0]
    rng = np.random.default_rng(0)
    clatter, hum = (
        rng.choice(NEGATIVES.embeddings[NEGATIVES.kinds == kind], 300).astype(float)
        for kind in (0, 2)
    )
    # An hour of clatter that is nearly a ring, around the threshold; then one of hum.
    towards = share + rng.uniform(-0.2, 0.05, (300, 1))
    hours = [clatter + towards * (ring - clatter), hum]
    # Far enough apart to be an alarm each.
    week = [
        KeptBlock("door", 3600.0 * hour + 10 * np.arange(300), each.astype(np.float32))
        for hour, each in enumerate(hours)
    ]
    _, report = taught_from(5, lambda: week)
    unseen = [fit(clips, NEGATIVES, hours[1]), fit(clips, NEGATIVES, hours[0])]
    expected = [above(each, hour) for each, hour in zip(unseen, hours, strict=True)]
    seen = fit(clips, NEGATIVES, np.concatenate(hours))
    assert report.week is not None
    assert report.week.alarms == sum(expected)
    assert sum(expected) > sum(above(seen, hour) for hour in hours)


def above(fitted: Fit, embeddings: np.ndarray) -> int:
    """Windows that a label exceeds its threshold in."""
    return int((fitted.head(embeddings) >= fitted.levels.threshold).sum())
