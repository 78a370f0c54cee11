"""Several models score the same windows, as if one had all of their labels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from monitor.audio.timeline import Block
from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.detection.rules import resolve_rules
from monitor.errors import ConfigError
from monitor.model.catalogue import ScoredLabels, all_classes
from monitor.model.classifier import Classifier
from monitor.model.engines import WindowHistory, WindowPlace
from monitor.model.frontend import LogMel
from monitor.model.models import Models, ScoringModel, as_models
from monitor.model.thresholds import Thresholds
from monitor.records import Event, Onset, Record, ScoreFrame
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.resampled import ResampledWindows
from monitor.runtime.scoring import Scoring
from monitor.spec import ModelSpec
from tests.support.models import small_model
from tests.support.recordings import SMALL_SPEC
from tests.support.signals import Samples, cut, noise, silence, sine

HIGH_SPEC = SMALL_SPEC.model_copy(update={"sample_rate": 12_000, "window_frames": 144})
"""A window of 1.55 s; in it fit one of SMALL_SPEC, 1.04 s, a delay of 0.2 s and a
stride of 0.26 s."""


def classifier(
    name: str, labels: Sequence[str], spec: ModelSpec, seed: int, **card: object
) -> Classifier:
    return Classifier(small_model(name, labels, spec, seed, **card), "cpu")


@pytest.fixture(scope="module")
def low() -> Classifier:
    thresholds = {"hum": Thresholds(onset=0.7, offset=0.5)}
    return classifier("low", ("hum", "hiss"), SMALL_SPEC, 1, thresholds=thresholds)


@pytest.fixture(scope="module")
def high() -> Classifier:
    thresholds = {"tick": Thresholds(onset=0.8, offset=0.3)}
    labels = ("tick", "hum", "ring")
    return classifier("high", labels, HIGH_SPEC, 2, thresholds=thresholds)


RATE = HIGH_SPEC.sample_rate
SCENE = np.concatenate(
    [
        noise(2, 0.01, RATE),
        noise(2, 0.3, RATE, seed=1) + sine(700, 2, 0.3, RATE),
        silence(2, RATE),
        sine(2500, 2, 0.5, RATE),
        noise(2, 0.05, RATE, seed=2),
    ],
    axis=1,
)


def windows_of(spec: ModelSpec, count: int) -> np.ndarray:
    shape = (count, 1, spec.n_mels, spec.window_frames)
    return np.random.default_rng(3).normal(-40, 15, shape).astype(np.float32)


def places(count: int) -> list[WindowPlace]:
    return [WindowPlace(WindowHistory(), 0) for _ in range(count)]


def test_all_classes_of_one_model_are_its_scores_to_the_last_bit(
    low: Classifier,
) -> None:
    windows = windows_of(SMALL_SPEC, 4)
    own = ScoringModel(low, all_classes(low.labels))
    scores = own.classify(windows, places(4)).scores
    assert np.array_equal(scores, low.classify(windows).scores)


def test_single_classes_are_exact_in_any_order(high: Classifier) -> None:
    windows = windows_of(HIGH_SPEC, 4)
    expected = high.classify(windows).scores
    every = ScoringModel(high, all_classes(high.labels))
    all_spans = every.classify(windows, places(4)).spans
    for indices in ((2, 0), (1,), (2, 1, 0), (0, 1)):
        labels = tuple(high.labels[index] for index in indices)
        scored = ScoredLabels(labels, tuple((index,) for index in indices))
        scores, spans, _ = ScoringModel(high, scored).classify(windows, places(4))
        assert np.array_equal(scores, expected[:, indices])
        assert np.array_equal(spans, all_spans[:, indices])


def test_the_odds_of_several_classes_are_added(high: Classifier) -> None:
    windows = windows_of(HIGH_SPEC, 5)
    each = high.classify(windows).scores.astype(np.float64)
    joined = ScoredLabels(("both", "ring"), ((0, 1), (2,)))
    scores = ScoringModel(high, joined).classify(windows, places(5)).scores
    odds = each[:, 0] / (1 - each[:, 0]) + each[:, 1] / (1 - each[:, 1])
    assert scores[:, 0] == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert np.array_equal(scores[:, 1], each[:, 2].astype(np.float32))
    # At least as sure as of each.
    assert (scores[:, 0] >= each[:, :2].max(axis=1)).all()


class Certain:
    """A network that is certain of everything."""

    spec, labels, total_stride = SMALL_SPEC, ("a", "b"), 1

    def classify(
        self, windows: np.ndarray, _: Sequence[WindowPlace]
    ) -> tuple[np.ndarray, np.ndarray, None]:
        shape = (len(windows), 2)
        return np.ones(shape, np.float32), np.ones((*shape, 4), np.float32), None


def test_scores_of_one_have_finite_odds() -> None:
    member = ScoringModel(
        Certain(),  # has what a scoring model uses
        ScoredLabels(("either",), ((0, 1),)),
    )
    scores = member.classify(windows_of(SMALL_SPEC, 1), places(1)).scores
    assert 0.999 < scores[0, 0] <= 1


def test_labels_stand_in_the_order_of_the_models(
    low: Classifier, high: Classifier
) -> None:
    scored = [all_classes(low.labels), ScoredLabels(("ring", "tick"), ((2,), (0,)))]
    models = Models([low, high], scored)
    assert models.labels == ("hum", "hiss", "ring", "tick")
    assert models.names == {"hum": "low", "hiss": "low", "ring": "high", "tick": "high"}
    assert models.name == "low+high"
    assert models.thresholds == {
        "hum": Thresholds(onset=0.7, offset=0.5),
        "tick": Thresholds(onset=0.8, offset=0.3),
    }


def test_thresholds_are_of_the_model_that_scores_the_label(
    low: Classifier, high: Classifier
) -> None:
    scored = [ScoredLabels(("hiss",), ((1,),)), all_classes(high.labels)]
    models = Models([low, high], scored)
    assert models.names["hum"] == "high"
    assert set(models.thresholds) == {"tick"}  # low alone has some for hum


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_model_of_the_highest_rate_leads(
    low: Classifier, high: Classifier, is_turned: bool
) -> None:
    classifiers = [high, low] if is_turned else [low, high]
    models = Models(classifiers)
    assert models.members[models.leader].classifier is high
    assert models.spec is high.spec
    (follower,) = models.resampling
    assert models.members[follower].classifier is low
    assert models.sharing == ()


def test_of_equal_rates_the_longest_window_leads(low: Classifier) -> None:
    spec = SMALL_SPEC.model_copy(update={"window_frames": 80})
    longer = classifier("longer", ("x",), spec, 3)
    assert Models([low, longer]).spec is longer.spec


def test_one_classifier_is_models_with_all_of_its_classes(low: Classifier) -> None:
    models = as_models(low)
    assert as_models(models) is models
    assert (models.labels, models.name) == (low.labels, low.name)
    assert (models.sharing, models.resampling) == ((), ())


def frames_of(
    models: Models | Classifier, sound: Samples, sizes: Sequence[int] = (5000,) * 40
) -> list[ScoreFrame]:
    return [it for it in records_of(models, sound, sizes) if isinstance(it, ScoreFrame)]


def records_of(
    models: Models | Classifier, sound: Samples, sizes: Sequence[int] = (5000,) * 40
) -> list[Record]:
    models = as_models(models)
    # Low thresholds, so that untrained networks report something.
    lively = LabelSettings(onset_threshold=0.3, offset_threshold=0.2, margin=0)
    detection = DetectionSettings(labels=dict.fromkeys(models.labels, lively))
    rules = resolve_rules(models.labels, detection, None, models.spec)
    pipeline = Pipeline(
        models,
        rules,
        hop_frames=48,
        level_gate_dbfs=-70.0,
        level_offsets_db={"street": 0.0},
        session="test",
    )
    records: list[Record] = []
    position = 0
    for block in cut(sound, list(sizes)):
        records += pipeline.process([("street", Block(position, block))])
        position += block.shape[1]
    return records + pipeline.finish("street", "end-of-input")


@pytest.fixture(scope="module")
def together(low: Classifier, high: Classifier) -> Models:
    scored = [all_classes(low.labels), ScoredLabels(("tick", "ring"), ((0,), (2,)))]
    return Models([low, high], scored)


def test_scores_of_two_models_stand_side_by_side(
    together: Models, high: Classifier
) -> None:
    """Those of the leading model are as alone."""
    both, alone = frames_of(together, SCENE), frames_of(high, SCENE)
    assert len(both) == len(alone) > 10
    for one, other in zip(both, alone, strict=True):
        assert (one.start, one.stop) == (other.start, other.stop)
        assert (one.scores[2], one.scores[3]) == (other.scores[0], other.scores[2])
        assert (one.spans[2], one.spans[3]) == (other.spans[0], other.spans[2])
        assert one.level_dbfs == other.level_dbfs


def test_those_of_a_follower_are_as_alone_on_the_resampled_sound(
    together: Models, low: Classifier
) -> None:
    """Its windows lie in those of the leading model, on a grid of their own."""
    step = low.hop_frames_step
    windows = ResampledWindows(LogMel(low.spec), RATE, step)
    windows.push(SCENE)
    frames = frames_of(together, SCENE)
    computed = 0
    for frame in frames:
        window = windows.window(frame.stop)
        assert window is not None
        if frame.peak_level_dbfs < -70:
            continue
        computed += 1
        alone = ScoringModel(low, all_classes(low.labels))
        scores, spans, _ = alone.classify(window.log_mel[None], places(1))
        assert frame.scores[:2] == pytest.approx(scores[0].tolist(), abs=1e-6)
        at = np.rint(window.start + spans[0] * windows.ratio)
        inside = np.clip(at, frame.start, frame.stop)
        assert np.array(frame.spans[:2]).tolist() == inside.tolist()
    assert computed > 10
    assert len({frame.scores[0] for frame in frames}) > 10


def test_three_models_score_as_each_two_of_them(
    low: Classifier, high: Classifier
) -> None:
    """Whichever of them leads."""
    spec = SMALL_SPEC.model_copy(update={"window_frames": 48})
    third = classifier("third", ("buzz", "beep"), spec, 5)
    for order in ([low, high, third], [high, third, low], [third, low, high]):
        frames = frames_of(Models(order), SCENE)
        columns = {each.name: columns_of(order, each) for each in order}
        for follower in (low, third):
            pair = frames_of(Models([follower, high]), SCENE)
            for frame, two in zip(frames, pair, strict=True):
                assert frame.scores[columns[follower.name]] == two.scores[:2]
                assert frame.spans[columns[follower.name]] == two.spans[:2]
                assert frame.scores[columns["high"]] == two.scores[2:]


def columns_of(order: Sequence[Classifier], wanted: Classifier) -> slice:
    before = order[: order.index(wanted)]
    first = sum(len(each.labels) for each in before)
    return slice(first, first + len(wanted.labels))


def test_the_sizes_of_blocks_do_not_matter(together: Models) -> None:
    whole = records_of(together, SCENE, [])
    assert records_of(together, SCENE, [777] * 200) == whole
    assert records_of(together, SCENE, [1, 50_000, 3, 20_000]) == whole


def test_models_with_equal_windows_score_as_each_alone() -> None:
    # Windows of this length are computed from the one before: each has its history.
    one = classifier("one", ("a", "b"), ModelSpec(), 3)
    twin = classifier("twin", ("x", "y"), ModelSpec(), 7)
    together = Models([one, twin])
    assert (together.sharing, together.resampling) == ((1,), ())
    sound = noise(7, 0.2)
    frames, of_one, of_twin = (frames_of(it, sound) for it in (together, one, twin))
    assert [it.scores for it in frames] == [
        (*first.scores, *second.scores)
        for first, second in zip(of_one, of_twin, strict=True)
    ]
    assert frames[-1].spans == (*of_one[-1].spans, *of_twin[-1].spans)


def test_records_name_the_model_of_their_label(together: Models) -> None:
    found = [it for it in records_of(together, SCENE) if isinstance(it, Onset | Event)]
    assert {it.model for it in found} == {together.names[it.label] for it in found}
    for record in found:
        assert record.model == together.names[record.label]
    assert {"low", "high"} == {it.model for it in found}


def pipeline_of(models: Models, hop_frames: int = 48) -> Pipeline:
    rules = resolve_rules(models.labels, DetectionSettings(), None, models.spec)
    return Pipeline(
        models,
        rules,
        hop_frames=hop_frames,
        level_gate_dbfs=-70.0,
        level_offsets_db={"street": 0.0},
        session="test",
    )


def test_where_too_much_was_lost_for_one_model_the_others_score(
    low: Classifier, high: Classifier
) -> None:
    """Its labels count as not computed, in no part of the window."""
    models = Models([low, high])
    windows = pipeline_of(models)._windowers["street"].push(Block(0, SCENE))
    whole = next(iter(windows))
    scoring = Scoring(models, -70.0)
    (heard,) = scoring.frames([("street", whole)])
    (lost,) = scoring.frames([("street", replace(whole, others=(None,)))])
    assert lost.scores == (0.0, 0.0, *heard.scores[2:])
    assert lost.spans == (((whole.start, whole.start),) * 2 + heard.spans[2:])
    assert all(start < stop for start, stop in heard.spans)


def test_a_follower_whose_window_does_not_fit_is_refused(high: Classifier) -> None:
    """Else it would not score at all, without a word."""
    for frames, fits in ((66, True), (70, False), (112, False)):
        spec = SMALL_SPEC.model_copy(update={"window_frames": frames})
        models = Models([classifier("longer", ("x", "y"), spec, 4), high])
        if fits:
            assert {frame.scores[0] for frame in frames_of(models, SCENE)} - {0.0}
            continue
        with pytest.raises(ConfigError, match="'longer' cannot listen beside 'high'"):
            pipeline_of(models)


def test_a_follower_that_moves_by_more_than_a_hop_is_refused(
    low: Classifier, high: Classifier
) -> None:
    """Else it would score the same window several times."""
    pipeline_of(Models([low, high]), 32)
    with pytest.raises(ConfigError, match=r"moves by 0\.256 s; let it listen alone"):
        pipeline_of(Models([low, high]), 16)
