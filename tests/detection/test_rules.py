"""Each label gets its rule from preset, model and settings."""

import pytest

from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.detection.rules import IMPULSIVE, LASTING, LabelRule, resolve_rules
from monitor.errors import ConfigError
from monitor.spec import ModelSpec

SPEC = ModelSpec()
LABELS = ("siren", "gun_shot", "dog_bark", "car_horn", "street_music")
MEASURED = {"siren": (0.83, 0.62)}


def rule_of(label: str, **settings: object) -> LabelRule:
    labels = {label: LabelSettings.model_validate(settings)}
    return resolve_rules(LABELS, DetectionSettings(labels=labels), MEASURED, SPEC)[
        label
    ]


def test_every_label_has_a_rule_in_the_order_of_the_model():
    rules = resolve_rules(LABELS, DetectionSettings(), None, SPEC)
    assert tuple(rules) == LABELS


def test_shots_barks_and_horns_are_impulsive_and_other_labels_continuous():
    rules = resolve_rules(LABELS, DetectionSettings(), None, SPEC)
    for label, rule in rules.items():
        kind = LASTING if label in ("siren", "street_music") else IMPULSIVE
        assert rule.smoothing_hops == kind.smoothing_hops
        assert rule.min_duration_off == SPEC.samples(kind.min_duration_off_seconds)
        assert rule.onset_threshold == kind.onset_threshold


def test_an_impulsive_label_is_not_smoothed():
    assert rule_of("gun_shot").smoothing_hops == 1


def test_the_preset_can_be_chosen():
    rule = rule_of("siren", preset="impulsive")
    assert rule.smoothing_hops == IMPULSIVE.smoothing_hops
    assert rule.shortest_sound == SPEC.samples(IMPULSIVE.shortest_sound_seconds)


@pytest.mark.parametrize(
    ("label", "settings", "thresholds"),
    [
        ("siren", {}, (0.83, 0.62)),  # of the model file
        ("street_music", {}, (0.6, 0.4)),  # of the preset
        ("siren", {"onset_threshold": 0.9}, (0.9, 0.62)),
        ("siren", {"offset_threshold": 0.3}, (0.83, 0.3)),
        ("siren", {"onset_threshold": 0.5}, (0.5, 0.5)),  # the other one gives way
        ("siren", {"onset_threshold": 0.5, "offset_threshold": 0.2}, (0.5, 0.2)),
    ],
)
def test_a_threshold_is_the_users_else_the_models_else_the_presets(
    label: str, settings: dict[str, object], thresholds: tuple[float, float]
):
    rule = rule_of(label, **settings)
    assert (rule.onset_threshold, rule.offset_threshold) == thresholds


def test_seconds_become_samples():
    rule = rule_of(
        "siren",
        min_duration_on_seconds=0.0,
        min_duration_off_seconds=1.5,
        refractory_seconds=5.0,
        smoothing_hops=3,
        margin=0.2,
    )
    assert rule.min_duration_on == 0  # zero is a wish, too
    assert rule.min_duration_off == 66_150
    assert rule.refractory == 220_500
    assert (rule.smoothing_hops, rule.margin) == (3, 0.2)


def test_an_unknown_label_is_named_with_those_that_exist():
    settings = DetectionSettings(labels={"sirene": LabelSettings()})
    with pytest.raises(ConfigError) as caught:
        resolve_rules(LABELS, settings, None, SPEC)
    assert str(caught.value) == (
        "detection.labels: 'sirene' is not a label of the model; did you mean siren? "
        "its labels are siren, gun_shot, dog_bark, car_horn, street_music"
    )


@pytest.mark.parametrize(
    ("label", "origin"), [("siren", "0.83 in the model file"), ("gun_shot", "0.7 in")]
)
def test_an_offset_threshold_above_the_onset_threshold_is_rejected(
    label: str, origin: str
):
    with pytest.raises(ConfigError) as caught:
        rule_of(label, offset_threshold=0.95)
    key = f"detection.labels.{label}.offset_threshold: 0.95 must not be above"
    assert str(caught.value).startswith(key)
    assert origin in str(caught.value)
