"""Sounds of known place become one event each, at that place."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.config.detection import DetectionSettings
from monitor.detection.detector import Detector
from monitor.detection.rules import resolve_rules
from monitor.records import ScoreFrame
from tests.support.detection import Detected, detected, intervals, onsets
from tests.support.scores import HOP, SPEC, SimulatedNetwork, Sound

LABELS = ("siren", "gun_shot", "car_horn", "dog_bark", "engine_idling")
COLLAR = SPEC.samples(0.75)
PLACES = 15

KINDS = pytest.mark.parametrize(
    ("label", "seconds"),
    [("gun_shot", 0.3), ("car_horn", 3.0), ("siren", 20.0), ("siren", 2.0)],
)


def found(frames: list[ScoreFrame], **changes: int) -> list[Detected]:
    rules = {
        label: replace(rule, **changes)
        for label, rule in resolve_rules(
            LABELS, DetectionSettings(), None, SPEC
        ).items()
    }
    return detected(Detector("street", LABELS, rules, -70.0, "m", "session"), frames)


def frames_of(sounds: list[Sound], samples: int) -> list[ScoreFrame]:
    return SimulatedNetwork(LABELS).frames(sounds, samples)


def sound(label: str, start: int, seconds: float) -> Sound:
    return Sound(label, start, start + SPEC.samples(seconds))


def places(seed: int) -> list[int]:
    """Starts anywhere between two windows, the extremes among them."""
    generator = np.random.default_rng(seed)
    return [
        8 * HOP,
        8 * HOP + 1,
        *generator.integers(8 * HOP, 9 * HOP, PLACES).tolist(),
    ]


def assert_detected(records: list[Detected], sounds: list[Sound]) -> None:
    assert len(records) == 2 * len(sounds), "one onset and one event each"
    for each in sounds:
        near = [
            (start, stop)
            for start, stop in intervals(records, each.label)
            if abs(start - each.start) <= COLLAR and abs(stop - each.stop) <= COLLAR
        ]
        assert len(near) == 1


@KINDS
def test_an_ideal_network_places_a_sound_within_a_column(label: str, seconds: float):
    for start in places(1):
        true = sound(label, start, seconds)
        records = found(frames_of([true], true.stop + SPEC.samples(12)))
        ((first, last),) = intervals(records, label)
        assert len(records) == 2
        assert true.start - 8192 < first <= true.start
        assert true.stop <= last < true.stop + 8192


@KINDS
def test_a_noisy_network_places_a_sound_within_the_collar(label: str, seconds: float):
    for seed, start in enumerate(places(2)):
        true = sound(label, start, seconds)
        network = SimulatedNetwork(LABELS, generator=np.random.default_rng(seed))
        frames = network.frames([true], true.stop + SPEC.samples(12))
        assert_detected(found(frames), [true])


@KINDS
def test_the_onset_is_placed_within_the_collar_too(label: str, seconds: float):
    for seed, start in enumerate(places(3)):
        true = sound(label, start, seconds)
        network = SimulatedNetwork(LABELS, generator=np.random.default_rng(seed))
        frames = network.frames([true], true.stop + SPEC.samples(12))
        ((first, reported_at),) = onsets(found(frames), label)
        assert abs(first - true.start) <= COLLAR
        assert reported_at is not None
        assert reported_at - true.start <= SPEC.samples(1.6)


def test_a_network_that_needs_two_seconds_of_a_siren_still_reports_where_it_began():
    for seed, start in enumerate(places(4)):
        true = sound("siren", start, 20.0)
        network = SimulatedNetwork(
            LABELS, needs=SPEC.samples(2.0), generator=np.random.default_rng(seed)
        )
        frames = network.frames([true], true.stop + SPEC.samples(12))
        assert_detected(found(frames), [true])


def test_a_sound_at_the_very_beginning_or_end_of_a_recording_is_placed():
    length = SPEC.samples(12)
    for true in (sound("siren", 0, 3.0), Sound("siren", length - 3 * 44_100, length)):
        frames = frames_of([true], length)
        ((start, stop),) = intervals(found(frames), "siren")
        assert abs(start - true.start) <= COLLAR
        assert abs(stop - true.stop) <= COLLAR


def test_a_recording_of_a_single_window_has_an_event():
    frames = frames_of([sound("siren", 44_100, 2.0)], SPEC.window_samples)
    assert len(frames) == 1
    assert len(intervals(found(frames), "siren")) == 1


@pytest.mark.parametrize("spans_all", [False, True])
def test_two_shots_three_seconds_apart_are_two_events(spans_all: bool):
    for start in places(5):
        shots = [sound("gun_shot", start + SPEC.samples(s), 0.3) for s in (0.0, 3.0)]
        network = SimulatedNetwork(LABELS, spans_all=spans_all)
        frames = network.frames(shots, shots[-1].stop + SPEC.samples(12))
        assert_detected(found(frames), shots)


def test_a_sound_that_was_over_in_the_first_window_ends_there():
    """A second one follows before the next window."""
    first = sound("gun_shot", 44_100, 0.3)
    second = sound("gun_shot", SPEC.window_samples + 100, 0.3)
    frames = SimulatedNetwork(LABELS, spans_all=True).frames(
        [first, second], SPEC.samples(12)
    )
    assert_detected(found(frames), [first, second])


def test_shots_without_a_pause_are_one_event():
    for start in places(6):
        shots = [
            sound("gun_shot", start + SPEC.samples(k * 0.7), 0.3) for k in range(9)
        ]
        network = SimulatedNetwork(LABELS, spans_all=True)
        frames = network.frames(shots, shots[-1].stop + SPEC.samples(12))
        assert_detected(found(frames), [Sound("gun_shot", start, shots[-1].stop)])


def test_an_event_is_reported_a_lull_after_the_sound_not_a_window():
    for start in places(7):
        true = sound("gun_shot", start, 0.3)
        records = found(frames_of([true], true.stop + SPEC.samples(12)))
        reported_at = records[-1].reported_at
        assert reported_at is not None
        assert reported_at - true.stop <= SPEC.samples(1.0) + HOP + 8192


def test_later_windows_that_contain_a_shot_make_no_second_event():
    for seed, start in enumerate(places(10)):
        true = sound("gun_shot", start, 0.3)
        network = SimulatedNetwork(LABELS, generator=np.random.default_rng(seed))
        frames = network.frames([true], true.stop + SPEC.samples(12))
        assert_detected(found(frames, refractory=0), [true])


def test_a_sound_too_short_for_an_event_does_not_move_the_start_of_the_next():
    for start in places(11):
        blip = sound("siren", start - SPEC.samples(3.0), 0.05)
        true = sound("siren", start, 4.0)
        network = SimulatedNetwork(LABELS, needs=SPEC.samples(1.0), spans_all=True)
        frames = network.frames([blip, true], true.stop + SPEC.samples(12))
        assert_detected(found(frames), [true])


def test_a_siren_is_in_one_piece_though_spans_end_before_the_edge():
    for seed, start in enumerate(places(12)):
        true = sound("siren", start, 20.0)
        network = SimulatedNetwork(LABELS, generator=np.random.default_rng(seed))
        frames = network.frames([true], true.stop + SPEC.samples(12))
        assert_detected(found(frames, min_duration_off=0), [true])


def test_sounds_of_several_labels_at_once_are_events_of_their_own():
    for seed, start in enumerate(places(8)):
        sounds = [
            sound("siren", start, 12.0),
            sound("car_horn", start + SPEC.samples(3.3), 3.0),
            sound("gun_shot", start + SPEC.samples(4.1), 0.3),
        ]
        network = SimulatedNetwork(LABELS, generator=np.random.default_rng(seed))
        frames = network.frames(sounds, start + SPEC.samples(24))
        assert_detected(found(frames), sounds)


def test_silence_makes_no_event_whatever_the_scores():
    generator = np.random.default_rng(9)

    def at_level(dbfs: float) -> list[ScoreFrame]:
        return [
            replace(
                frame,
                scores=tuple(generator.uniform(0.5, 1.0, len(LABELS)).tolist()),
                level_dbfs=dbfs,
                peak_level_dbfs=dbfs,
            )
            for frame in frames_of([], SPEC.samples(60))
        ]

    assert found(at_level(-120)) == []
    assert found(at_level(-40)) != []


def test_an_event_is_not_prolonged_by_silence():
    """A microphone that dies in the middle of a siren."""
    true = sound("siren", 10 * HOP, 30.0)
    frames = [
        frame
        if frame.start < 30 * HOP
        else ScoreFrame(
            "street", frame.start, frame.stop, frame.scores, frame.spans, -120, -120, 0
        )
        for frame in frames_of([true], true.stop)
    ]
    ((_, stop),) = intervals(found(frames), "siren")
    assert stop == 29 * HOP + SPEC.window_samples
