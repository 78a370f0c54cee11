"""Every setting is frozen, has a default, and is shown in config.yaml."""

import re
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from monitor.config.alerts import AlertSettings, QuietSettings
from monitor.config.audio import SourceSettings
from monitor.config.base import Settings
from monitor.config.config import Config
from monitor.config.detection import LabelSettings
from monitor.config.hooks import CommandSettings, WebhookSettings
from monitor.config.load import parse_config
from monitor.config.outputs import MqttAlertSettings, NotifySettings
from monitor.config.strict_yaml import KeyPath, key_text, read_yaml
from tests.support import ROOT
from tests.support.settings_files import explanation, explanation_above, settings

FILE = ROOT / "config.yaml"

# An example line begins with '#' where its indentation would begin.
EXAMPLE = re.compile(r"^#(?= {2})", re.MULTILINE)


def shown_text() -> str:
    """The file with every example uncommented."""
    return EXAMPLE.sub("", FILE.read_text())


SETTINGS = [
    *settings(Config, Config(), ()),
    *settings(SourceSettings, Config().sources[0], ("sources", 0)),
    *settings(LabelSettings, None, ("detection", "labels", "siren")),
    *settings(AlertSettings, None, ("alerts", 0)),
    *settings(QuietSettings, None, ("alerts", 0, "quiet", 0)),
    *settings(WebhookSettings, None, ("alerts", 0, "webhook")),
    *settings(CommandSettings, None, ("alerts", 0, "command")),
    *settings(NotifySettings, None, ("alerts", 0, "notify")),
    *settings(MqttAlertSettings, None, ("alerts", 0, "mqtt")),
]

HEADERS = {
    ("alerts", 0, "webhook", "headers", "X-Site"),
    ("alerts", 0, "webhook", "secret_headers", "X-Api-Key"),
}


def sections(kind: type[BaseModel] = Config) -> Iterator[type[BaseModel]]:
    yield kind
    for field in kind.model_fields.values():
        for annotation in (field.annotation, *get_args(field.annotation)):
            if isinstance(annotation, type) and issubclass(annotation, Settings):
                yield from sections(annotation)


def test_every_setting_is_explained() -> None:
    found = list(sections())
    assert len(found) > 5
    for kind in found:
        for name in kind.model_fields:
            assert explanation(kind, name), f"{kind.__name__}.{name}"


def test_only_names_programs_and_addresses_have_no_default() -> None:
    required = [
        (kind.__name__, name)
        for kind in sections()
        for name, field in kind.model_fields.items()
        if field.is_required()
    ]
    assert set(required) == {
        ("SourceSettings", "name"),
        ("AlertSettings", "name"),
        ("CommandSettings", "argv"),
        ("NotifySettings", "url_secret"),
        ("MqttAlertSettings", "host"),
    }


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Config().ring_seconds = 10.0


@pytest.mark.parametrize(
    "spec",
    ["mic:default", "mic:USB Audio", "file:a.wav", "command:arecord -q", "demo:"],
)
def test_an_input_is_one_of_four_kinds(spec: str) -> None:
    assert SourceSettings(name="a", input=spec).input == spec


@pytest.mark.parametrize("spec", ["", "mic", "mic:", "mic: ", "file:", "demo:x", "x:y"])
def test_another_input_is_rejected(spec: str) -> None:
    with pytest.raises(ValidationError):
        SourceSettings(name="a", input=spec)


def test_config_yaml_shows_the_defaults() -> None:
    assert parse_config(FILE.read_text(), "config.yaml") == Config()


@pytest.mark.parametrize(
    ("path", "text", "default"), SETTINGS, ids=lambda value: str(value)[:40]
)
def test_every_setting_is_shown_with_its_explanation(
    path: KeyPath, text: str, default: object
) -> None:
    shown = shown_text()
    line = read_yaml(shown, "config.yaml").lines.get(path)
    missing = f"config.yaml lacks {key_text(path)}, {default!r}: # {text}"
    assert line is not None, missing
    assert explanation_above(shown.splitlines(), line) == " ".join(text.split())


def test_config_yaml_shows_only_settings() -> None:
    known = {path for path, _, _ in SETTINGS}
    known |= {("detection", "labels", "siren"), *HEADERS}
    lines = read_yaml(shown_text(), "config.yaml").lines
    second_source = {path for path in lines if path[:2] == ("sources", 1)}
    items = {path for path in lines if isinstance(path[-1], int)}
    assert set(lines) - second_source - items == known


def test_the_examples_of_config_yaml_are_valid() -> None:
    config = parse_config(shown_text(), "config.yaml")
    assert set(config.detection.labels) == {"siren"}
    assert len(config.sources) == 2
    assert [rule.name for rule in config.alerts] == ["siren-to-operations"]
    assert config.sources[0] == Config().sources[0]
