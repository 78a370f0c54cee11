"""The answers of `check` about a rule hold in the detector."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.detection import feasibility
from monitor.detection.detector import Detector
from monitor.detection.feasibility import Feasibility, examine
from monitor.detection.rules import LabelRule, resolve_rules
from tests.support.detection import detected, onsets
from tests.support.scores import HOP, SPEC, SimulatedNetwork, Sound

LABELS = ("siren", "gun_shot")


def rule_of(label: str, **settings: object) -> LabelRule:
    labels = {label: LabelSettings.model_validate(settings)}
    return resolve_rules(LABELS, DetectionSettings(labels=labels), None, SPEC)[label]


def examined(label: str, **settings: object) -> Feasibility:
    (answer,) = examine({label: rule_of(label, **settings)}, HOP, SPEC)
    return answer


def test_the_presets_can_fire_and_report_within_about_a_second():
    rules = resolve_rules(LABELS, DetectionSettings(), None, SPEC)
    siren, gun_shot = examine(rules, HOP, SPEC)
    assert siren.can_fire
    assert gun_shot.can_fire
    hop = SPEC.seconds(HOP)
    assert gun_shot.latency_bound_seconds == pytest.approx(hop, abs=0.01)
    # It is reported once it has lasted half a second.
    assert siren.latency_bound_seconds == pytest.approx(0.5 + hop, abs=0.02)


def test_the_sentence_names_the_figures():
    assert examined("siren").why == (
        "detects sounds of 0.51 s and more, at most 1.04 s after the network first "
        "scores them; those with 2.53 s of silence between them are two events"
    )


def test_a_long_min_duration_on_is_named_as_the_reason_of_an_infeasible_rule():
    answer = examined("gun_shot", min_duration_on_seconds=9.0)
    assert not answer.can_fire
    assert answer.why.endswith(
        "; min_duration_on_seconds: 9 should not be more than 0.3"
    )
    assert answer.shortest_sound_seconds == pytest.approx(9.0, abs=0.1)


def test_too_much_smoothing_is_named_as_the_reason_of_an_infeasible_rule():
    answer = examined("gun_shot", smoothing_hops=20)
    assert not answer.can_fire
    assert "smoothing_hops: 20 should not be more than " in answer.why
    assert answer.why.endswith("for such a sound is in 8 windows at the most")


def test_the_named_limit_of_smoothing_is_feasible():
    why = examined("gun_shot", smoothing_hops=20).why
    most = int(why.split("should not be more than ")[1].split(",")[0])
    assert examined("gun_shot", smoothing_hops=most).can_fire
    assert not examined("gun_shot", smoothing_hops=most + 1).can_fire


def test_the_refractory_time_bounds_the_distance_of_two_events():
    assert examined("gun_shot").shortest_pause_seconds < 2.0
    answer = examined("gun_shot", refractory_seconds=30.0)
    assert answer.shortest_pause_seconds == pytest.approx(30, abs=0.7)


@pytest.mark.parametrize("hop_frames", [16, 48, 160, 344])
def test_any_hop_can_be_examined(hop_frames: int):
    hop = hop_frames * SPEC.hop_length
    (answer,) = examine({"gun_shot": rule_of("gun_shot")}, hop, SPEC)
    assert answer.latency_bound_seconds == pytest.approx(SPEC.seconds(hop), abs=0.02)


def test_equal_rules_get_equal_answers_under_their_own_names():
    rule = rule_of("siren")
    first, second = examine({"siren": rule, "drilling": rule}, HOP, SPEC)
    assert (first.label, second.label) == ("siren", "drilling")
    assert first.why == second.why


@pytest.mark.parametrize(
    ("label", "settings"),
    [
        ("gun_shot", {}),
        ("siren", {}),
        ("siren", {"smoothing_hops": 6, "min_duration_on_seconds": 1.7}),
        ("siren", {"onset_threshold": 0.95, "smoothing_hops": 4}),
    ],
)
def test_the_bounds_hold_for_sounds_anywhere(label: str, settings: dict[str, object]):
    answer = examined(label, **settings)
    rules = {label: rule_of(label, **settings)}
    length = max(SPEC.samples(answer.shortest_sound_seconds + 0.1), 8192)
    # The ideal network of the tests places a sound to the column, and detects any.
    network = SimulatedNetwork((label,), needs=1)
    slack = 0.04
    for start in np.random.default_rng(1).integers(20 * HOP, 21 * HOP, 40).tolist():
        sound = Sound(label, start, start + length)
        frames = network.frames([sound], sound.stop + 10 * SPEC.sample_rate)
        tested = Detector("street", [label], rules, -70.0, "m", "session")
        ((_, reported_at),) = onsets(detected(tested, frames), label)
        assert reported_at is not None
        latency = SPEC.seconds(reported_at - start)
        assert latency <= answer.latency_bound_seconds + slack


@given(
    onset=st.floats(0.05, 0.999),
    share=st.floats(0.1, 1.0),
    hops=st.integers(1, 5),
)
@settings(max_examples=15)
def test_rules_tried_together_have_the_same_answer_as_alone(
    onset: float, share: float, hops: int
) -> None:
    rule = replace(
        rule_of("siren", smoothing_hops=hops),
        onset_threshold=onset,
        offset_threshold=onset * share,
    )
    trial = feasibility._Trial(rule, HOP, SPEC)
    exact = feasibility._figures(trial, rule, HOP)
    (answer,) = examine({"siren": rule}, HOP, SPEC)
    assert answer.shortest_sound_seconds == SPEC.seconds(exact.shortest_sound)
    assert answer.latency_bound_seconds == SPEC.seconds(exact.latency)
    assert answer.shortest_pause_seconds == SPEC.seconds(exact.shortest_pause)
