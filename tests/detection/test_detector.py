"""The records that come of score frames."""

import math
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from monitor.config.detection import DetectionSettings
from monitor.detection.detector import Detector
from monitor.detection.rules import resolve_rules
from monitor.records import Event, Gap, HopLevels, Onset, ScoreFrame
from tests.support.detection import (
    GATE_DBFS,
    detected,
    detector,
    intervals,
    onsets,
    rule,
)
from tests.support.scores import (
    BACKGROUND_DBFS,
    HOP,
    SOUND_DBFS,
    SPEC,
    WINDOW,
    SimulatedNetwork,
    Sound,
    drawn,
)

LABELS = ("siren", "gun_shot", "dog_bark", "drilling")


def urban(session: str = "session") -> Detector:
    rules = resolve_rules(LABELS, DetectionSettings(), None, SPEC)
    return Detector("street", LABELS, rules, -70.0, "urban", session)


def moved(frames: list[ScoreFrame], first: int) -> list[ScoreFrame]:
    """Drawn frames, from sample `first` on."""
    return [
        replace(frame, start=k, stop=k + 1, spans=((k, k + 1),) * len(frame.spans))
        for k, frame in enumerate(frames, first)
    ]


def siren(start_seconds: float = 6.0, seconds: float = 5.0) -> Sound:
    start = SPEC.samples(start_seconds)
    return Sound("siren", start, start + SPEC.samples(seconds))


def both(session: str = "session") -> tuple[Onset, Event]:
    frames = SimulatedNetwork(LABELS).frames([siren()], SPEC.samples(20))
    onset, event = (each.record for each in detected(urban(session), frames))
    assert isinstance(onset, Onset)
    assert isinstance(event, Event)
    return onset, event


def test_onset_and_event_name_label_source_and_model():
    for record in both():
        assert record.source == "street"
        assert record.label == "siren"
        assert record.model == "urban"
        assert record.peak_score == pytest.approx(0.97)
        assert [label for label, _ in record.top] == ["siren", "gun_shot", "dog_bark"]
        assert record.top[0] == ("siren", record.peak_score)
    assert both()[1].end_reason == "offset"


def test_an_onset_stops_at_the_end_of_the_window_that_reported_it():
    frames = SimulatedNetwork(LABELS).frames([siren()], SPEC.samples(20))
    onset = detected(urban(), frames)[0]
    assert onset.record.stop == onset.reported_at


def test_the_id_is_the_same_for_onset_and_event_and_for_the_same_samples():
    onset, event = both()
    assert onset.id == event.id == both()[0].id
    assert UUID(onset.id).version == 5
    assert onset.id != both(session="another")[0].id


def test_ids_differ_even_if_the_first_onset_was_reported_where_the_second_event_is():
    # The first window is active at 9, the later ones correct it to [4, 6); the last one
    # is active at 9 again.
    windows = [
        (0.1, (0, 1)),
        (0.9, (9, 10)),
        (0.9, (4, 5)),
        (0.9, (6, 6)),
        (0.9, (9, 10)),
    ]
    frames = [
        ScoreFrame("street", 2 * k, 2 * k + 8, (score,), (span,), -20.0, -20.0, 70.0)
        for k, (score, span) in enumerate(windows)
    ]
    records = detected(detector(rule(min_duration_off=3)), frames)
    ids = [each.record.id for each in records if isinstance(each.record, Onset)]
    assert len(ids) == len(set(ids)) == 1
    assert intervals(records) == [(4, 6)]


def test_ids_differ_also_in_a_detector_that_follows():
    """The first onset was reported at 9, which later windows corrected to 6."""
    windows = [(2, (9, 10)), (3, (4, 5)), (4, (6, 6)), (6, (9, 14))]
    frames = [
        ScoreFrame("street", start, start + 8, (0.9,), (span,), -20.0, -20.0, 70.0)
        for start, span in windows
    ]
    before = detector(rule(min_duration_off=6))
    records = [record for frame in frames[:3] for record in before.push(frame)]
    records += before.finish("reloaded")
    after = Detector(
        "street",
        ["a"],
        {"a": rule()},
        GATE_DBFS,
        "m",
        "session",
        seen_until=before.seen_until,
        horizons=before.horizons,
    )
    records += [*after.push(frames[3]), *after.finish("stopped")]
    first, second = (record for record in records if isinstance(record, Event))
    assert first.id != second.id
    assert (first.start, first.stop) == (6, 7)
    assert second.stop == 14


def around(start: int, *heard: tuple[float, tuple[int, int]]) -> ScoreFrame:
    """A window of 8 samples, and the score and span of each label."""
    scores, spans = zip(*heard, strict=True)
    return ScoreFrame("street", start, start + 8, scores, spans, -20.0, -20.0, 70.0)


def after_a_reload(before: Detector, *reported: str) -> Detector:
    """The detector that goes on and reports these of the labels a and b."""
    assert before.finish("reloaded") == []
    return Detector(
        "street",
        ["a", "b"],
        {label: rule(min_duration_off=2) for label in reported},
        GATE_DBFS,
        "m",
        "session",
        seen_until=before.seen_until,
        horizons=before.horizons,
    )


def test_a_label_that_is_new_at_a_reload_reports_nothing_that_lies_before_it():
    quiet = (0.1, (4, 5))
    before = Detector("street", ["a", "b"], {"a": rule()}, GATE_DBFS, "m", "session")
    assert before.push(around(2, quiet, (0.9, (6, 9)))) == []
    after = after_a_reload(before, "a", "b")
    # The sound was over before the reload, at 10, and is still in the next windows.
    sounded = (0.9, (6, 9))
    frames = [around(start, quiet, sounded) for start in (4, 6)]
    assert [record for frame in frames for record in after.push(frame)] == []
    # Of another one, which sounded before, and goes on, the rest is reported.
    lasting = [around(start, quiet, (0.9, (9, start + 8))) for start in (8, 10)]
    over = [around(start, (0.1, (14, 15)), (0.1, (14, 15))) for start in (14, 18, 22)]
    records = detected(after, lasting + over)
    assert [each.record.label for each in records] == ["b", "b"]
    ((start, _),) = intervals(records, "b")
    assert start >= before.seen_until


def test_what_lies_before_a_reload_has_the_level_of_the_first_hop_after_it():
    """Of a label that was reported before: the hops of that time are not known."""
    before = detector(rule(), rule())
    assert before.push(around(2, (0.1, (4, 5)), (0.1, (4, 5)))) == []
    after = after_a_reload(before, "a", "b")
    quiet = (0.1, (4, 5))
    records = [*after.push(around(4, (0.9, (6, 9)), quiet)), *after.finish("stopped")]
    onset, event = records
    assert isinstance(onset, Onset)
    assert isinstance(event, Event)
    assert (event.start, event.stop) == (6, 9)
    assert (event.level_dbfs, event.laeq_db) == pytest.approx((-20.0, 70.0))


def test_a_label_with_a_margin_begins_beside_its_group():
    """The group is no rival of its members; another label is."""

    def begins(rivals: dict[str, tuple[str, ...]] | None, *rows: str) -> bool:
        tested = Detector(
            "street",
            ["dog", "animal", "siren"],
            {"dog": rule(margin=0.3)},
            GATE_DBFS,
            "m",
            "session",
            rivals=rivals,
        )
        return detected(tested, drawn(*rows)) != []

    both = "..888...", "..999..."
    rivals = {"dog": ("siren",), "animal": ("siren",), "siren": ("dog", "animal")}
    assert begins(rivals, *both, "........")
    assert not begins(rivals, *both, "..999...")
    assert not begins(None, *both, "........")


def test_the_level_gate_looks_at_the_loudest_hop_of_the_window():
    frame = drawn("9")[0]
    quiet_now = replace(frame, level_dbfs=-120.0)
    assert intervals(detected(detector(rule()), [quiet_now])) == [(0, 1)]
    quiet = replace(quiet_now, peak_level_dbfs=-70.1)
    assert detected(detector(rule()), [quiet]) == []


def test_an_empty_span_is_detected_as_a_moment():
    frame = replace(drawn("9")[0], spans=((0, 0),))
    assert intervals(detected(detector(rule()), [frame])) == [(0, 1)]


def test_the_mean_score_is_over_the_windows_that_count():
    frames = drawn("1159811111")
    event = detected(detector(rule(min_duration_off=2, smoothing_hops=2)), frames)[-1]
    # 0.5 and 0.9 average to the onset threshold; 0.1 does not count.
    assert event.record.mean_score == pytest.approx((0.5 + 0.9 + 0.8) / 3)
    assert event.record.peak_score == 0.9


def test_the_top_labels_are_those_of_the_window_with_the_peak_score():
    frames = drawn("..88989...", "..53231...", ".....6....")
    records = detected(detector(rule(), rule(), rule()), frames)
    assert records[-1].record.top == (("a", 0.9), ("b", 0.2), ("c", 0.1))


def test_the_levels_of_an_event_are_those_of_its_hops():
    frames = SimulatedNetwork(LABELS).frames([siren()], SPEC.samples(20))
    at = {frame.stop: k for k, frame in enumerate(frames)}
    onset, event = detected(urban(), frames)
    assert onset.record.level_dbfs == event.record.level_dbfs == SOUND_DBFS
    # Hops beside the sound are quiet; estimates may take in one at either end.
    whole = math.ceil(SPEC.samples(5.0) / HOP)
    lowest = SOUND_DBFS + 90 + 10 * math.log10(whole / (whole + 2))
    assert lowest <= event.record.laeq_db <= SOUND_DBFS + 90
    assert BACKGROUND_DBFS + 90 < onset.record.laeq_db <= SOUND_DBFS + 90
    loudest = at[onset.reported_at or 0]
    frames[loudest] = replace(frames[loudest], level_dbfs=-3.0)
    assert detected(urban(), frames)[0].record.level_dbfs == -3.0


def test_the_levels_follow_a_start_whose_estimate_moved():
    for seed in range(10):
        generator = np.random.default_rng(seed)
        network = SimulatedNetwork(LABELS, generator=generator, jitter_columns=8)
        frames = [
            replace(frame, laeq_db=generator.uniform(30, 90))
            for frame in network.frames([siren(seconds=20)], SPEC.samples(35))
        ]
        event = next(
            each.record
            for each in detected(urban(), frames)
            if isinstance(each.record, Event) and each.record.label == "siren"
        )
        energies = [
            10 ** (frame.laeq_db / 10)
            for frame in frames
            if frame.stop > event.start and frame.stop - HOP < event.stop
        ]
        mean = 10 * math.log10(sum(energies) / len(energies))
        assert event.laeq_db == pytest.approx(mean)


def test_an_event_that_is_reported_late_has_the_levels_of_all_its_hops():
    frames = drawn("..####################..")
    frames[2] = replace(frames[2], level_dbfs=-3.0, peak_level_dbfs=-3.0)
    onset, event = detected(detector(rule(min_duration_on=20)), frames)
    assert onset.record.level_dbfs == event.record.level_dbfs == -3.0


def test_noise_after_the_sound_does_not_change_its_level():
    frames = SimulatedNetwork(LABELS).frames([siren()], SPEC.samples(20))
    onset, event = detected(urban(), frames)
    for k, frame in enumerate(frames):
        if frame.stop - HOP >= event.record.stop:
            frames[k] = replace(frame, level_dbfs=-1.0, laeq_db=120.0)
    assert detected(urban(), frames) == [onset, event]


def test_a_gap_ends_ongoing_events_with_its_reason():
    tested, network = urban(), SimulatedNetwork(LABELS)
    sounds = [siren(6, 30)]
    records = [
        r for f in network.frames(sounds, SPEC.samples(15)) for r in tested.push(f)
    ]
    (onset,) = records
    end = (SPEC.samples(15) - WINDOW) // HOP * HOP + WINDOW
    (event,) = tested.gap(Gap("street", end, end + 1000, "unplugged"))
    assert (event.id, event.end_reason) == (onset.id, "unplugged")
    assert event.stop == end
    assert tested.gap(Gap("street", end, end + 1000, "unplugged")) == []


def test_the_end_of_the_input_ends_ongoing_events():
    frames = SimulatedNetwork(LABELS).frames([siren(6, 30)], SPEC.samples(15))
    event = detected(urban(), frames)[-1]
    assert isinstance(event.record, Event)
    assert event.record.end_reason == "end-of-input"
    assert event.record.stop == frames[-1].stop


def test_a_gap_before_the_onset_is_reported_leaves_no_event():
    tested = detector(rule(min_duration_on=3))
    assert detected(tested, drawn("...##")) == []


def test_smoothing_restarts_after_a_gap():
    tested = detector(rule(smoothing_hops=4))
    assert [record for frame in drawn("1111") for record in tested.push(frame)] == []
    assert tested.gap(Gap("street", 4, 100, "overrun")) == []
    # One score of 0.9 among three of 0.1 would not do.
    assert onsets(detected(tested, moved(drawn("999"), 100))) == [(100, 101)]


def test_a_gap_discards_the_scores_of_rivals():
    tested = detector(rule(smoothing_hops=4, margin=0.3), rule(onset_threshold=0.95))
    for frame in drawn("....", "9999"):
        tested.push(frame)
    tested.gap(Gap("street", 4, 10, "overrun"))
    assert onsets(detected(tested, moved(drawn("9", "."), 10))) == [(10, 11)]


def test_refractory_time_goes_on_over_a_gap():
    tested = detector(rule(refractory=20))
    for frame in drawn("..##"):
        tested.push(frame)
    (event,) = tested.gap(Gap("street", 4, 10, "overrun"))
    assert event.stop == 4
    assert intervals(detected(tested, moved(drawn("#" * 30), 10))) == [(24, 40)]


def test_an_event_goes_on_over_a_frame_that_is_missing():
    tested = detector(rule(min_duration_off=2))
    frames = drawn("..##.##...")
    del frames[4]
    assert intervals(detected(tested, frames)) == [(2, 7)]


def test_a_long_event_needs_no_more_memory():
    tested = detector(rule(min_duration_off=3))
    for frame in drawn("#" * 3000):
        tested.push(frame)
    (level,) = tested._levels.values()
    event = tested._states[0].event
    assert event is not None
    assert len(level._hops) < 10
    assert len(tested._hops) < 10
    assert len(event._opening) + len(event._closing) < 20


def test_onset_and_event_have_the_offset_of_their_levels():
    """It may be set to another one later."""
    hop = HopLevels(1, 94.0, 60.0, ())
    frames = [
        replace(frame, hop_levels=hop)
        for frame in SimulatedNetwork(LABELS).frames([siren()], SPEC.samples(20))
    ]
    records = [each.record for each in detected(urban(), frames)]
    assert [it.level_offset_db for it in records] == [94.0, 94.0]
    assert [it.level_offset_db for it in both()] == [None, None]
