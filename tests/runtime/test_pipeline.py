"""Samples become the same records whatever way they arrive."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.level import Level
from monitor.audio.ring import Samples
from monitor.audio.timeline import Block
from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.detection.rules import resolve_rules
from monitor.errors import ConfigError
from monitor.model.classifier import Classifier
from monitor.model.engines import WindowHistory
from monitor.model.frontend import LogMel
from monitor.records import Event, Gap, HopLevels, Onset, Record, ScoreFrame
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.scoring import absolute
from monitor.runtime.windowing import BRIDGED_SECONDS, Window
from monitor.spec import ModelSpec
from tests.support.models import stored_model
from tests.support.signals import cut, noise, silence, sine

HOP = 48 * 512
BRIDGED = round(BRIDGED_SECONDS * 44_100)
WINDOW = 343 * 512 + 1024


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(stored_model(), "cpu")


def make_pipeline(
    classifier: Classifier, sources: tuple[str, ...] = ("street",), hop_frames: int = 48
) -> Pipeline:
    # Low thresholds, so that an untrained network reports something.
    lively = LabelSettings(onset_threshold=0.3, offset_threshold=0.2)
    detection = DetectionSettings(labels=dict.fromkeys(classifier.labels, lively))
    rules = resolve_rules(classifier.labels, detection, None, classifier.spec)
    return Pipeline(
        classifier,
        rules,
        hop_frames=hop_frames,
        level_gate_dbfs=-70.0,
        level_offsets_db=dict.fromkeys(sources, 0.0),
        session="test",
    )


def run(pipeline: Pipeline, blocks: list[Samples], source: str = "street"):
    """Timeline blocks one call each, then finish."""
    records: list[Record] = []
    position = 0
    for samples in blocks:
        if samples.shape[1]:
            records += pipeline.process([(source, Block(position, samples))])
            position += samples.shape[1]
    return records + pipeline.finish(source, "end-of-input")


def score_frames(records: list[Record]) -> list[ScoreFrame]:
    return [record for record in records if isinstance(record, ScoreFrame)]


@pytest.fixture(scope="module")
def scene() -> Samples:
    loud = noise(3, 0.2) + sine(900, 3, 0.3)
    return torch.cat(
        [torch.from_numpy(part) for part in (noise(4, 0.001), loud, noise(5, 0.001))], 1
    ).numpy()


@pytest.fixture(scope="module")
def whole(classifier, scene):
    return run(make_pipeline(classifier), [scene])


def test_the_scene_has_something_to_tell(whole):
    kinds = {type(record) for record in whole}
    assert kinds == {ScoreFrame, Onset, Event}


@given(sizes=st.lists(st.integers(1, 60_000), max_size=12))
@settings(max_examples=8, deadline=None)
def test_the_sizes_of_blocks_do_not_matter(classifier, scene, whole, sizes):
    assert run(make_pipeline(classifier), cut(scene, sizes)) == whole


@pytest.mark.parametrize("size", [882, 4410, 10_000])
def test_nor_do_those_after_a_gap_that_ends_within_a_hop(classifier, scene, size):
    def analysed(blocks: list[Samples]) -> list[Record]:
        pipeline = make_pipeline(classifier)
        gap = Gap("street", 0, HOP + 1000, "stalled")
        records: list[Record] = pipeline.process([("street", gap)])
        position = gap.stop
        for samples in blocks:
            records += pipeline.process([("street", Block(position, samples))])
            position += samples.shape[1]
        return records

    assert analysed(cut(scene, [size] * 20)) == analysed([scene])


def test_windows_lie_on_the_grid_and_all_are_reported(whole, scene):
    frames = score_frames(whole)
    assert [frame.start for frame in frames] == [i * HOP for i in range(len(frames))]
    assert all(frame.stop - frame.start == WINDOW for frame in frames)
    assert len(frames) == (scene.shape[1] - WINDOW) // HOP + 1


def test_a_frame_scores_what_the_classifier_says_of_its_window(
    classifier, scene, whole
):
    frame = score_frames(whole)[5]
    log_mel = LogMel(classifier.spec)(scene[:, frame.start : frame.stop])
    expected = classifier.classify(log_mel[None]).scores[0]
    assert frame.scores == pytest.approx(expected.tolist(), abs=1e-5)


def test_candidates_are_there_while_wanted_and_change_nothing(classifier, scene, whole):
    pipeline = make_pipeline(classifier)
    pipeline.explain(True)
    records = run(pipeline, [scene])
    assert records == whole
    for frame in score_frames(records):
        scores = [each.score for each in frame.candidates]
        assert scores == sorted(frame.scores, reverse=True)[:5]
        going_on = {it.label for it in frame.candidates if it.held_back is None}
        # The event of one that ends with the frame is the next record.
        assert going_on <= {each.label for each in frame.ongoing}
    assert not any(frame.candidates for frame in score_frames(whole))


def test_active_spans_lie_within_their_window_and_reach_its_end(whole):
    """The network's last column covers more than the last frames of a window."""
    frames = score_frames(whole)
    ends = [stop - frame.stop for frame in frames for _, stop in frame.spans]
    assert max(ends) == 0
    assert all(start >= frame.start for frame in frames for start, _ in frame.spans)


def test_spans_of_a_network_with_a_longer_stride_end_with_their_window():
    level = Level(-20.0, -20.0, HopLevels(0, 0.0, -20.0, ()))
    window = Window(1000, 1000 + WINDOW, torch.zeros(1), level, -20.0, WindowHistory())
    spans = np.array([[0, WINDOW + 500], [10, 20]])
    assert absolute(spans, 1000, 1, window) == ((1000, 1000 + WINDOW), (1010, 1020))


def test_levels_are_of_the_newest_hop_and_of_the_loudest(classifier):
    quiet_then_loud = torch.cat(
        [torch.from_numpy(part) for part in (noise(5, 0.01), noise(1, 0.5))], dim=1
    ).numpy()
    frames = score_frames(run(make_pipeline(classifier), [quiet_then_loud]))
    assert frames[0].level_dbfs == pytest.approx(-40, abs=0.5)
    assert frames[-1].level_dbfs == pytest.approx(-6, abs=0.5)
    assert frames[-1].peak_level_dbfs == pytest.approx(-6, abs=0.5)


def test_a_batch_of_sources_gives_the_records_of_each_alone(classifier, scene, whole):
    stereo = noise(7, 0.2, channels=2)
    together = make_pipeline(classifier, ("street", "yard"))
    records = together.process(
        [("street", Block(0, scene)), ("yard", Block(0, stereo))]
    )
    for source in ("street", "yard"):
        records += together.finish(source, "end-of-input")
    assert [record for record in records if record.source == "street"] == whole
    alone = run(make_pipeline(classifier, ("yard",)), [stereo], "yard")
    assert [record for record in records if record.source == "yard"] == alone


@given(lost=st.integers(BRIDGED + 1, 300_000), before=st.integers(WINDOW, 2 * WINDOW))
@settings(max_examples=8, deadline=None)
def test_no_window_contains_a_gap_that_is_too_long_to_be_bridged(
    classifier, lost, before
):
    pipeline = make_pipeline(classifier)
    gap = Gap("street", before, before + lost, "stalled")
    after = noise(6, 0.2, seed=2)
    records = pipeline.process(
        [
            ("street", Block(0, noise(9, 0.2)[:, :before])),
            ("street", gap),
            ("street", Block(gap.stop, after)),
        ]
    )
    assert gap in records
    frames = score_frames(records)
    assert all(frame.stop <= gap.start or frame.start >= gap.stop for frame in frames)
    assert all(frame.start % HOP == 0 for frame in frames)
    resumed = [frame.start for frame in frames if frame.start >= gap.stop]
    assert resumed[0] == -(-gap.stop // HOP) * HOP
    assert all(after - before == HOP for before, after in pairwise(resumed))


@pytest.mark.parametrize("most", [1, 3, 6])
def test_the_newest_windows_are_scored_as_always_and_a_gap_stands_for_the_others(
    classifier, scene, whole, most
):
    """No sample is lost and no event ends while windows overlap."""
    pipeline = make_pipeline(classifier)
    records: list[Record] = pipeline.process([("street", Block(0, scene[:, :WINDOW]))])
    for start in range(WINDOW, scene.shape[1], 7 * HOP):
        block = Block(start, scene[:, start : start + 7 * HOP])
        records += pipeline.process([("street", block)], most)
    found = [replace(frame, ongoing=()) for frame in score_frames(records)]
    every = [replace(frame, ongoing=()) for frame in score_frames(whole)]
    assert set(found) < set(every)
    assert found[-1] == every[-1]
    gaps = [record for record in records if isinstance(record, Gap)]
    assert {gap.reason for gap in gaps} == {"overload"}
    hops = {frame.stop for frame in found}
    for gap in gaps:
        hops |= set(range(gap.stop, gap.start, -HOP))
    assert {frame.stop for frame in every} <= hops
    events = [record for record in records if isinstance(record, Event)]
    assert {event.end_reason for event in events} <= {"offset"}


def test_samples_in_no_window_at_all_are_an_overrun_that_ends_events(classifier):
    pipeline = make_pipeline(classifier)
    sound = noise(30, 0.2)
    pipeline.process([("street", Block(0, sound[:, : 8 * HOP]))])
    records = pipeline.process([("street", Block(8 * HOP, sound[:, 8 * HOP :]))], 1)
    (frame,) = score_frames(records)
    (gap,) = [record for record in records if isinstance(record, Gap)]
    assert gap == Gap("street", WINDOW, frame.start, "overrun")
    ended = [record for record in records if isinstance(record, Event)]
    assert {event.end_reason for event in ended} == {"overrun"}


def test_windows_left_out_before_a_gap_are_lost_with_it(classifier):
    pipeline = make_pipeline(classifier)
    sound = noise(20, 0.2)
    stop = 4 * HOP + WINDOW
    records = pipeline.process(
        [
            ("street", Block(0, sound[:, :stop])),
            ("street", Gap("street", stop, 2 * stop, "stalled")),
            ("street", Block(2 * stop, sound)),
        ],
        1,
    )
    gaps = [record for record in records if isinstance(record, Gap)]
    assert [gap.reason for gap in gaps] == ["overrun", "stalled", "overrun"]
    assert gaps[0] == Gap("street", 0, stop, "overrun")
    (frame,) = score_frames(records)
    assert gaps[2].stop == frame.start


def test_digital_silence_raises_nothing(classifier):
    records = run(make_pipeline(classifier), [silence(12)])
    assert {type(record) for record in records} == {ScoreFrame}


def test_the_hop_must_suit_the_network(classifier):
    with pytest.raises(ConfigError, match="hop_frames: 40 is not a multiple"):
        make_pipeline(classifier, hop_frames=40)


def test_a_model_of_one_channel_takes_the_mean_of_two():
    spec = ModelSpec(channels=1)
    alone = Classifier(stored_model(spec=spec), "cpu")
    stereo = noise(5, 0.2, channels=2)
    mixed = stereo.mean(axis=0, keepdims=True)
    analysed = score_frames(run(make_pipeline(alone), [stereo]))
    assert analysed == score_frames(run(make_pipeline(alone), [mixed]))


def test_below_the_level_gate_the_network_does_not_run(classifier, monkeypatch):
    windows = 0
    classify = classifier.classify

    def counting(batch, places):
        nonlocal windows
        windows += len(batch)
        return classify(batch, places)

    monkeypatch.setattr(classifier, "classify", counting)
    scene = np.concatenate([noise(10, 1e-5), noise(5, 0.1), noise(10, 1e-5)], axis=1)
    frames = score_frames(run(make_pipeline(classifier), [scene]))
    computed = [frame.is_computed for frame in frames]
    assert computed == [frame.peak_level_dbfs >= -70 for frame in frames]
    assert windows == sum(computed) < len(frames)
    for frame in frames:
        if not frame.is_computed:
            assert set(frame.scores) == {0.0}
            assert all(start == stop for start, stop in frame.spans)


def test_a_further_source_has_no_buffers_of_the_transforms(classifier):
    tracemalloc.start()
    try:
        taken = []
        for count in (1, 9):
            before, _ = tracemalloc.get_traced_memory()
            pipeline = make_pipeline(classifier, tuple(map(str, range(count))))
            taken.append(tracemalloc.get_traced_memory()[0] - before)
            del pipeline
    finally:
        tracemalloc.stop()
    assert (taken[1] - taken[0]) / 8 < 64 * 1024
