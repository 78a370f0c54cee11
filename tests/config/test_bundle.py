"""A bundle replaces what it names, and leaves a monitor everything else."""

from pathlib import Path

import pytest

from monitor.config.bundle import BundleSettings, merge_bundle
from monitor.config.config import Config
from monitor.config.load import parse_config, parse_settings
from monitor.errors import ConfigError

MODEL = Path("/state/rollout/3.safetensors")


def merged(local: str, bundle: str) -> Config:
    settings = parse_settings(BundleSettings, bundle, "fleet.yaml")
    return merge_bundle(parse_config(local, "config.yaml"), settings, MODEL, "bundle 3")


def test_an_empty_bundle_changes_nothing() -> None:
    local = "model: {file: world, threads: 2}\ndetection: {sensitivity: 0.3}"
    assert merged(local, "") == parse_config(local, "config.yaml")


def test_named_keys_replace_those_of_the_monitor() -> None:
    config = merged(
        "detection: {sensitivity: 0.3, level_gate_dbfs: -60}\ncanary: {label: siren}",
        "detection: {sensitivity: 0.7}\ncanary: {every_seconds: null}",
    )
    assert config.detection.sensitivity == 0.7
    assert config.detection.level_gate_dbfs == -60
    assert (config.canary.every_seconds, config.canary.label) == (None, "siren")


def test_a_label_is_replaced_as_a_whole_and_others_stay() -> None:
    config = merged(
        "detection: {labels: {siren: {sensitivity: 0.1}, drilling: {margin: 0.2}}}",
        "detection: {labels: {siren: {onset_threshold: 0.8}}}",
    )
    siren, drilling = (config.detection.labels[it] for it in ("siren", "drilling"))
    assert (siren.sensitivity, siren.onset_threshold) == (None, 0.8)
    assert drilling.margin == 0.2


@pytest.mark.parametrize(
    ("local", "bundle", "files"),
    [
        ("models: [urban, world]", "model: bundle", (str(MODEL),)),
        ("model: mine.safetensors", "models: [bundle, world]", (str(MODEL), "world")),
        ("models: [urban, world]", "model: urban", ("urban",)),
        ("models: [urban, world]", "labels: [siren]", ("urban", "world")),
    ],
)
def test_the_models_of_a_bundle_replace_all(
    local: str, bundle: str, files: tuple[str, ...]
) -> None:
    assert merged(local, bundle).model_files == files


def test_the_machine_of_a_model_stays_local() -> None:
    config = merged("model: {threads: 3, compute_device: cpu}", "model: world")
    assert (config.model.threads, config.model.compute_device) == (3, "cpu")


def test_a_bundle_that_contradicts_the_configuration_is_refused() -> None:
    rule = "{name: a, on: [health], kinds: [deaf], webhook: {url: 'http://a'}}"
    with pytest.raises(ConfigError, match=r"bundle 3: .*health\.ignore"):
        merged(f"alerts: [{rule}]", "health: {ignore: [deaf]}")


def test_a_bundle_has_no_place_for_addresses_programs_or_secrets() -> None:
    allowed = {"model", "models", "labels", "detection", "level", "health", "canary"}
    assert BundleSettings.model_fields.keys() == allowed
