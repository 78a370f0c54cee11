"""Windows are compared with the background of their source, however they arrive."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.ring import Samples
from monitor.audio.timeline import Block
from monitor.model.classifier import Classifier
from monitor.model.engines import WindowPlace
from monitor.model.frontend import Array, LogMel
from monitor.records import Gap, Record, ScoreFrame
from monitor.runtime.offline import analyze_file
from monitor.runtime.pipeline import Pipeline
from tests.runtime.test_pipeline import HOP, make_pipeline, run, score_frames
from tests.runtime.test_three_ways import CONFIG, SOURCE, analysed, listen
from tests.support.models import WITH_BACKGROUND, stored_model
from tests.support.signals import RATE, cut, noise, silence, sine

ENGINES = ("onnx", "torch")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(stored_model("mobile", WITH_BACKGROUND), "cpu")


@pytest.fixture(scope="module")
def scene() -> Samples:
    """Sounds and silence: windows that are held, below the gate, and neither."""
    loud = noise(4, 0.2, seed=1) + sine(900, 4, 0.3)
    parts = [noise(9, 0.001), loud, noise(6, 0.005), silence(6), loud, noise(5, 0.001)]
    return np.concatenate(parts, axis=1)


@pytest.fixture(scope="module")
def whole(classifier: Classifier, scene: Samples) -> list[Record]:
    return run(make_pipeline(classifier), [scene])


def alone(classifier: Classifier, scene: Samples, frame: ScoreFrame) -> list[float]:
    """The scores of a window without a background."""
    log_mel = LogMel(classifier.spec)(scene[:, frame.start : frame.stop])
    scores: list[float] = classifier.classify(log_mel[None]).scores[0].tolist()
    return scores


def test_the_first_windows_have_none_and_later_ones_do(
    classifier: Classifier, scene: Samples, whole: list[Record]
) -> None:
    is_changed = [
        frame.scores != pytest.approx(alone(classifier, scene, frame), abs=1e-3)
        for frame in score_frames(whole)
        if frame.is_computed
    ]
    assert is_changed.index(True) >= 6
    assert sum(is_changed) > 10
    highest = [max(frame.scores) for frame in score_frames(whole)]
    computed = [score for score in highest if score]
    assert min(computed) < 0.7 < max(computed)
    assert len(computed) < len(highest)


@given(sizes=st.lists(st.integers(1, 200_000), max_size=12))
@settings(max_examples=6, deadline=None)
def test_the_sizes_of_blocks_do_not_matter(
    classifier: Classifier, scene: Samples, whole: list[Record], sizes: list[int]
) -> None:
    assert run(make_pipeline(classifier), cut(scene, sizes)) == whole


@pytest.mark.parametrize("engine", ENGINES)
def test_a_live_run_and_a_recording_give_the_same_scores_to_the_last_bit(
    engine: str, scene: Samples, tmp_path: Path
) -> None:
    comparing = Classifier(
        stored_model("mobile", WITH_BACKGROUND), "cpu", engine=engine
    )
    samples = np.rint(scene[0] * 32_767).astype(np.int16)
    soundfile.write(tmp_path / "street.wav", samples, RATE)
    live = score_frames(analysed(listen(samples, comparing, tmp_path / "monitor.db")))
    analysis = analyze_file(tmp_path / "street.wav", comparing, CONFIG, source=SOURCE)
    recording = score_frames(analysed(analysis.records))
    count = min(len(live), len(recording))
    assert len(live) - count <= 1  # the last block of the card
    assert live[:count] == recording[:count]
    assert count > 40


def test_the_engines_agree(scene: Samples, whole: list[Record]) -> None:
    model = stored_model("mobile", WITH_BACKGROUND)
    reference = make_pipeline(Classifier(model, "cpu", engine="torch"))
    for light, other in zip(
        score_frames(whole), score_frames(run(reference, [scene])), strict=True
    ):
        assert light.scores == pytest.approx(other.scores, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_lost_end_the_background(
    classifier: Classifier, scene: Samples, channels: int
) -> None:
    """After a gap, or with other channels, a source begins as a new one."""
    after = np.repeat(scene[:, 5 * RATE :], channels, axis=0)
    begin = 20 * HOP + (5000 if channels == 1 else 0)
    arrivals: list[Block | Gap] = [Block(0, scene[:, : 20 * HOP])]
    if channels == 1:
        arrivals.append(Gap("street", 20 * HOP, begin, "stalled"))
    arrivals.append(Block(begin, after))
    pipeline, new = make_pipeline(classifier), make_pipeline(classifier)
    found = pipeline.process([("street", each) for each in arrivals])
    expected = new.process([("street", Block(begin, after))])
    assert scores_of(expected, begin) == scores_of(found, begin) != []


def scores_of(records: list[Record], begin: int) -> list[tuple[float, ...]]:
    return [each.scores for each in score_frames(records) if each.start >= begin]


def test_an_overload_adds_nothing_and_ends_nothing(
    classifier: Classifier, scene: Samples
) -> None:
    """What is left out is not in the mean; what is known stays."""
    pipeline = make_pipeline(classifier)
    before = 9 * RATE // HOP * HOP
    first = score_frames(pipeline.process([("street", Block(0, scene[:, :before]))]))
    late = Block(before, scene[:, before : before + 6 * HOP])
    records = pipeline.process([("street", late)], 1)
    (frame,) = score_frames(records)
    assert [gap.reason for gap in records if isinstance(gap, Gap)] == ["overload"]
    starts = [each.start for each in first]
    assert [b - a for a, b in pairwise(starts)] == [HOP] * (len(starts) - 1)
    spec = classifier.spec
    within = [
        LogMel(spec)(scene[:, each.start : each.stop])
        for each in first
        if 258 <= (frame.start - each.start) // spec.hop_length <= 603
    ]
    embedding, _ = classifier.views(np.stack(within))
    background = pipeline_background(pipeline)
    assert np.abs(background - embedding.mean(axis=0)).max() < 1e-4


def pipeline_background(pipeline: Pipeline) -> Array:
    """The latest background of the source."""
    background = pipeline._windowers["street"].history.background
    assert background is not None
    assert background._mean is not None
    return background._mean


def test_a_window_after_a_silent_one_is_marked(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether both come at once or not."""
    places: list[WindowPlace] = []
    classify = classifier.classify

    def noting(windows: Array, each: list[WindowPlace]) -> object:
        places.extend(each)
        return classify(windows, each)

    monkeypatch.setattr(classifier, "classify", noting)
    scene = np.concatenate([noise(5, 0.1), silence(9), noise(6, 0.1)], axis=1)
    marked = []
    for size in (scene.shape[1], 10_000):
        places.clear()
        blocks = cut(scene, [size] * (scene.shape[1] // size))
        frames = score_frames(run(make_pipeline(classifier), blocks))
        computed = [frame for frame in frames if frame.is_computed]
        for place, frame in zip(places, computed, strict=True):
            assert place.first_frame == frame.start // 512
        marked.append([place.first_frame for place in places if place.follows_silence])
    first = next(
        after.start // 512
        for before, after in pairwise(frames)
        if after.is_computed and not before.is_computed
    )
    assert marked == [[first], [first]]


def test_sources_do_not_share_a_background(
    classifier: Classifier, scene: Samples, whole: list[Record]
) -> None:
    other = scene[:, ::-1]
    pipeline = make_pipeline(classifier, ("street", "yard"))
    records: list[Record] = []
    for start in range(0, scene.shape[1], 5 * RATE):
        stop = start + 5 * RATE
        records += pipeline.process(
            [
                ("street", Block(start, scene[:, start:stop])),
                ("yard", Block(start, other[:, start:stop])),
            ]
        )
    street = [frame for frame in score_frames(records) if frame.source == "street"]
    assert [frame.scores for frame in street] == [
        frame.scores for frame in score_frames(whole)
    ]
