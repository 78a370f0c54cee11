"""Masks of places, and thresholds from the highest scores in each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from monitor.records import ScoreFrame
from monitor.spec import ModelSpec
from tests.support.places import write_places
from tests.support.recordings import RATE, SMALL_SPEC
from training.config import HeadSettings
from training.data.decoded import open_store
from training.data.places import PLACE_PARTS, Places, deal_places, read_places
from training.distill.teacher import Teacher, TeacherOutputs
from training.evaluate.in_places import (
    masked_seconds,
    most_masked,
    place_masks,
    score_places,
    thresholds_in_places,
)
from training.heads.masks import TeacherMask
from training.streams.metrics import Reference
from training.streams.scored import ScoredStream

LABELS = ("siren", "drilling")
SPEC = ModelSpec()
HOP = 48


class LoudTeacher(Teacher):
    """Detects its class 1 in what is not silent."""

    def __init__(self) -> None:
        self.path, self.sample_rate, self.digest = Path("loud.onnx"), RATE, "loud"

    def waveform(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        assert sample_rate == SMALL_SPEC.sample_rate
        return samples[0]

    def run(self, waveform: np.ndarray) -> TeacherOutputs:
        is_loud = np.abs(waveform).mean() > 0.1
        return TeacherOutputs(None, np.array([[0.0, 2.0 if is_loud else -2.0]]))


MASK = TeacherMask(LoudTeacher(), LABELS, {"siren": [1]}, score=0.5)


@pytest.fixture(name="places")
def _places(tmp_path: Path) -> Places:
    found = read_places([write_places(tmp_path / "places")])
    manifest, store = open_store(found, RATE, tmp_path / "cache")
    return Places(deal_places(manifest, store, SMALL_SPEC).clips, store)


def test_a_mask_covers_what_the_teacher_detects_and_what_is_near_it() -> None:
    count = SMALL_SPEC.window_samples + 39 * HOP * SMALL_SPEC.hop_length
    samples = np.zeros((1, count), np.float32)
    loud = slice(count // 2, count // 2 + SMALL_SPEC.window_samples)
    samples[:, loud] = np.random.default_rng(0).uniform(
        -1, 1, SMALL_SPEC.window_samples
    )
    masked = MASK.windows(samples, SMALL_SPEC, HOP, 40)
    assert masked.shape == (40, 2)
    assert not masked[:, 1].any()
    starts = HOP * SMALL_SPEC.hop_length * np.arange(40)
    overlap = np.minimum(starts + SMALL_SPEC.window_samples, loud.stop) - np.maximum(
        starts, loud.start
    )
    assert masked[overlap.argmax(), 0]
    assert 0 < masked[:, 0].sum() < 25
    assert not masked[[0, -1], 0].any()


def test_masked_seconds_are_summed_by_label_and_recording() -> None:
    masks = {
        name: np.arange(10)[:, None] < np.array([hops, 0])
        for name, hops in (("a", 4), ("b", 0), ("c", 7))
    }
    seconds = masked_seconds(masks, LABELS, 0.5)
    assert seconds == {"siren": {"a": 2.0, "c": 3.5}}
    assert most_masked(seconds) == {
        "siren": {"seconds": 5.5, "most_in": {"c": 3.5, "a": 2.0}}
    }


def test_a_masked_label_scores_nothing_in_its_place(places: Places) -> None:
    from monitor.model.classifier import Classifier
    from tests.support.models import stored_model

    classifier = Classifier(stored_model("article", SMALL_SPEC), "cpu")
    masks = place_masks(MASK, places, SMALL_SPEC, HOP, 0, lambda *_: None)
    names = set(places.names().values())
    assert set(masks) == names
    chosen = min(names)
    (part,) = (c.fold for c in places.clips if places.names()[c.path] == chosen)
    assert part in range(PLACE_PARTS)
    only = {name: np.zeros((len(own), 3), bool) for name, own in masks.items()}
    only[chosen][2:4, 1] = True
    scored = score_places(classifier, places, part, only, 0, lambda *_: None).alone
    free = score_places(classifier, places, part, {}, 0, lambda *_: None).alone
    for with_mask, without in zip(scored, free, strict=True):
        for hop, (own, all_of) in enumerate(
            zip(with_mask.frames, without.frames, strict=True)
        ):
            is_masked = with_mask.name == chosen and hop in (2, 3)
            assert own.scores[1] == (0 if is_masked else all_of.scores[1])
            assert own.scores[0] == all_of.scores[0] > 0


def stream(name: str, score: float, *events: float) -> ScoredStream:
    """A minute of one score for the first label, with events of given scores."""
    hop = HOP * SPEC.hop_length
    count = int(60 * SPEC.sample_rate) // hop
    scores = np.full(count, score)
    references = []
    for number, high in enumerate(events):
        at = 10 + 12 * number
        scores[at : at + 8] = high
        first = (at * hop + SPEC.window_samples) / SPEC.sample_rate - 1
        references.append(Reference(first, first + 3, LABELS[0], 12.0, name))
    return ScoredStream(tuple(references), frames_of(scores), name)


def frames_of(scores: Sequence[float]) -> tuple[ScoreFrame, ...]:
    hop = HOP * SPEC.hop_length
    return tuple(
        ScoreFrame(
            *("s", number * hop, number * hop + SPEC.window_samples, (score,)),
            *(((number * hop, (number + 1) * hop),), -20.0, -20.0, -20.0),
        )
        for number, score in enumerate(map(float, scores))
    )


def onset(**settings: float) -> float:
    """Threshold of a label in an hour of sixty places that score up to 0.9."""
    alone = [stream(f"p{n}", 0.1 + 0.8 * n / 59) for n in range(60)]
    events = [stream("e", 0.05, 0.6, 0.7, 0.8)]
    chosen = HeadSettings.model_validate(settings)
    (found,) = thresholds_in_places(alone, events, LABELS[:1], SPEC, chosen)
    return found.onset


def test_a_label_gets_a_useful_threshold_where_that_costs_little() -> None:
    strict = {"false_alarms_per_hour": 0.5, "lowest_recall": 0.0}
    assert onset(**strict) > 0.88
    # Two of three events reach 0.7, which fifteen of sixty places exceed.
    lenient = {**strict, "lowest_recall": 0.5}
    assert onset(**lenient, most_false_alarms_per_hour=30) == pytest.approx(
        0.7, abs=0.02
    )
    # Five alarms an hour are the most that this may cost.
    fifth = 0.1 + 0.8 * 54 / 59
    assert onset(**lenient, most_false_alarms_per_hour=5) == pytest.approx(
        fifth, abs=0.02
    )
