"""Each label gets its rule from preset, model and settings."""

import pytest

from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.config.load import parse_config
from monitor.detection.rules import IMPULSIVE, LASTING, LabelRule, resolve_rules
from monitor.errors import ConfigError
from monitor.model.thresholds import Thresholds
from monitor.spec import ModelSpec
from tests.support.curves import thresholds_on_curve

SPEC = ModelSpec()
LABELS = ("siren", "gun_shot", "dog_bark", "car_horn", "street_music")
MEASURED = {"siren": Thresholds(onset=0.83, offset=0.62)}
ONSETS = (0.97, 0.96, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
CURVED = dict.fromkeys(LABELS, thresholds_on_curve(ONSETS))  # offset: half of onset


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


def curved(common: float, **siren: object) -> dict[str, tuple[float, float]]:
    labels = {"siren": LabelSettings.model_validate(siren)}
    detection = DetectionSettings(sensitivity=common, labels=labels)
    rules = resolve_rules(LABELS, detection, CURVED, SPEC)
    return {
        label: (rule.onset_threshold, rule.offset_threshold)
        for label, rule in rules.items()
    }


@pytest.mark.parametrize(
    ("common", "siren", "thresholds", "others"),
    [
        (0.5, {}, (0.8, 0.4), (0.8, 0.4)),
        (0.6, {}, (0.7, 0.35), (0.7, 0.35)),  # the offset keeps its proportion
        (1, {"sensitivity": 0}, (0.97, 0.485), (0.3, 0.15)),
        (0.5, {"sensitivity": 0.9}, (0.4, 0.2), (0.8, 0.4)),
        (0.9, {"sensitivity": 0.5}, (0.8, 0.4), (0.4, 0.2)),
        (0.9, {"onset_threshold": 0.66}, (0.66, 0.4), (0.4, 0.2)),  # it wins
        (0.9, {"offset_threshold": 0.31}, (0.4, 0.31), (0.4, 0.2)),
    ],
)
def test_the_sensitivity_moves_both_thresholds_along_the_curve(
    common: float,
    siren: dict[str, object],
    thresholds: tuple[float, float],
    others: tuple[float, float],
):
    found = curved(common, **siren)
    assert found["siren"] == pytest.approx(thresholds)
    assert found["dog_bark"] == pytest.approx(others)


def test_an_offset_threshold_never_comes_above_the_onset_threshold():
    equal = CURVED["siren"].model_copy(update={"offset": 0.8})
    for step in range(101):
        detection = DetectionSettings(sensitivity=step / 100)
        resolve_rules(("siren",), detection, {"siren": equal}, SPEC)


def test_a_fixed_offset_threshold_above_the_moved_one_is_rejected():
    place = "must not be above the onset threshold, 0.3 in the model file at sensitiv"
    with pytest.raises(ConfigError, match=f"offset_threshold: 0.5 {place}ity 1"):
        curved(0.5, sensitivity=1, offset_threshold=0.5)


CURE = (
    "set onset_threshold for such a label, or take a model file that has its curve: "
    "'train --places' measures curves, and 'calibrate' leaves out those that its "
    "thresholds lie beyond"
)


@pytest.mark.parametrize(
    ("common", "siren", "problem"),
    [
        (
            0.7,
            {},
            "detection.sensitivity: 0.7 needs a curve of each label, and the model "
            f"file has none of siren and 4 more; {CURE}",
        ),
        (
            0.7,
            {"onset_threshold": 0.8},
            "detection.sensitivity: 0.7 needs a curve of each label, and the model "
            f"file has none of gun_shot and 3 more; {CURE}",
        ),
        (
            0.5,
            {"sensitivity": 0.7},
            "detection.labels.siren.sensitivity: 0.7 needs a curve of the label, and "
            f"the model file has none; {CURE}",
        ),
    ],
)
def test_a_model_without_a_curve_takes_no_sensitivity(
    common: float, siren: dict[str, object], problem: str
):
    labels = {"siren": LabelSettings.model_validate(siren)}
    detection = DetectionSettings(sensitivity=common, labels=labels)
    for thresholds in (MEASURED, None):
        with pytest.raises(ConfigError) as caught:
            resolve_rules(LABELS, detection, thresholds, SPEC)
        assert str(caught.value) == problem


def test_labels_that_do_not_follow_the_sensitivity_need_no_curve():
    labels = {"siren": LabelSettings(onset_threshold=0.9)}
    labels["gun_shot"] = LabelSettings(sensitivity=0.5)
    detection = DetectionSettings(sensitivity=0.8, labels=labels)
    thresholds = {label: CURVED[label] for label in LABELS[2:]}
    rules = resolve_rules(LABELS, detection, thresholds, SPEC)
    assert rules["siren"].onset_threshold == 0.9
    assert rules["gun_shot"].onset_threshold == IMPULSIVE.onset_threshold
    assert rules["dog_bark"].onset_threshold == 0.5


def test_rules_without_thresholds_are_those_of_the_model():
    siren = LabelSettings(sensitivity=0.9, offset_threshold=0.9, smoothing_hops=7)
    bark = LabelSettings(onset_threshold=0.9)
    labels = {"siren": siren, "dog_bark": bark}
    detection = DetectionSettings(sensitivity=0.8, labels=labels).without_thresholds()
    rules = resolve_rules(LABELS, detection, None, SPEC)
    assert rules["siren"].onset_threshold == LASTING.onset_threshold
    assert rules["siren"].smoothing_hops == 7
    assert rules["dog_bark"].onset_threshold == IMPULSIVE.onset_threshold


def test_a_label_has_a_sensitivity_or_an_onset_threshold():
    text = "detection:\n  labels:\n    siren: {sensitivity: 0.7, onset_threshold: 0.6}"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "config.yaml")
    assert str(caught.value) == (
        "config.yaml:3: detection.labels.siren: sensitivity: 0.7 must not be given "
        "together with onset_threshold: 0.6, for both set the same threshold; remove "
        "one of them"
    )
    parse_config(
        "detection: {sensitivity: 0.7, labels: {a: {onset_threshold: 0.6}}}", ""
    )
