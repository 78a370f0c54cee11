"""The settings: every one is documented, frozen, and has a default."""

from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from monitor.config.audio import SourceSettings
from monitor.config.base import Settings
from monitor.config.config import Config


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
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name}"


def test_only_names_programs_and_places_have_no_default() -> None:
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
        Config().ring_seconds = 10.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "spec",
    ["mic:default", "mic:USB Audio", "file:a.wav", "command:arecord -q", "demo:"],
)
def test_an_input_is_one_of_four_kinds(spec: str) -> None:
    assert SourceSettings(name="a", input=spec).input == spec


@pytest.mark.parametrize("spec", ["", "mic", "mic:", "mic: ", "file:", "demo:x", "x:y"])
def test_another_input_is_refused(spec: str) -> None:
    with pytest.raises(ValidationError):
        SourceSettings(name="a", input=spec)
