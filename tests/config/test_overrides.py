"""Overrides replace settings of the configuration, and never contradict it."""

import pytest
import yaml

from monitor.config.load import parse_config, parse_settings
from monitor.config.overrides import Overrides, merge
from monitor.errors import ConfigError

SOME = Overrides().with_sensitivity(None, 0.3).with_sensitivity("siren", 0.7)


def test_sensitivities_replace_those_of_the_configuration() -> None:
    text = "detection: {sensitivity: 0.9, labels: {siren: {margin: 0.1}}}"
    detection = merge(parse_config(text, "config.yaml"), SOME).detection
    assert detection.sensitivity == 0.3
    assert detection.sensitivity_of("siren") == 0.7
    assert detection.labels["siren"].margin == 0.1


def test_without_a_value_the_configuration_holds_again() -> None:
    none = SOME.with_sensitivity(None, None).with_sensitivity("siren", None)
    assert not none
    config = parse_config("detection: {sensitivity: 0.9}", "config.yaml")
    assert merge(config, none) == config


def test_a_threshold_of_the_configuration_is_not_replaced() -> None:
    text = "detection: {labels: {siren: {onset_threshold: 0.8}}}"
    with pytest.raises(ConfigError) as error:
        merge(parse_config(text, "config.yaml"), SOME)
    assert str(error.value) == (
        "detection.labels.siren.sensitivity: 0.7 sets the same threshold as "
        "onset_threshold: 0.8 of the configuration; remove one of them"
    )


def test_they_are_read_as_they_are_written() -> None:
    text = yaml.safe_dump(SOME.model_dump(mode="json", exclude_defaults=True))
    assert parse_settings(Overrides, text, "overrides.yaml") == SOME
    assert parse_settings(Overrides, "", "overrides.yaml") == Overrides()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (Overrides(), ""),
        (SOME, "sensitivity 0.3, siren 0.7"),
        (SOME.with_sensitivity(None, None), "sensitivity of siren 0.7"),
    ],
)
def test_they_are_one_phrase(overrides: Overrides, sentence: str) -> None:
    assert overrides.sentence == sentence


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("detection: {level_gate_dbfs: -60}", "there is no such setting"),
        ("detection: {sensitivity: 2}", "must be at most 1"),
        ("detection: {labels: {siren: {}}}", "sensitivity is missing"),
    ],
)
def test_nothing_else_can_be_overridden(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_settings(Overrides, text, "overrides.yaml")
    assert str(error.value).startswith("overrides.yaml:1: detection")
    assert fault in str(error.value)
