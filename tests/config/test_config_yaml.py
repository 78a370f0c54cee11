"""config.yaml shows every setting with its default and its explanation."""

import re

import pytest

from monitor.commands.configuration import load
from monitor.config.alerts import AlertSettings, QuietSettings
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.config.detection import LabelSettings
from monitor.config.hooks import CommandSettings, WebhookSettings
from monitor.config.load import KeyPath, key_text, parse_config, read_yaml
from monitor.config.outputs import MqttAlertSettings, NotifySettings
from tests.support import ROOT
from tests.support.settings_files import explanation_above, settings

FILE = ROOT / "config.yaml"

# An example line begins with '#' where its indentation would begin.
EXAMPLE = re.compile(r"^#(?= {2})", re.MULTILINE)


def shown_text() -> str:
    """The file as if every example had been taken."""
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


def test_the_file_as_it_is_changes_nothing() -> None:
    assert parse_config(FILE.read_text(), "config.yaml") == Config()


@pytest.mark.parametrize(
    ("path", "explanation", "default"), SETTINGS, ids=lambda value: str(value)[:40]
)
def test_every_setting_is_shown_with_its_explanation(
    path: KeyPath, explanation: str, default: object
) -> None:
    text = shown_text()
    line = read_yaml(text, "config.yaml").lines.get(path)
    missing = f"config.yaml lacks {key_text(path)}, {default!r}: # {explanation}"
    assert line is not None, missing
    assert explanation_above(text.splitlines(), line) == " ".join(explanation.split())


def test_nothing_is_shown_that_is_no_setting() -> None:
    known = {path for path, _, _ in SETTINGS}
    known |= {("detection", "labels", "siren"), *HEADERS}
    lines = read_yaml(shown_text(), "config.yaml").lines
    second_source = {path for path in lines if path[:2] == ("sources", 1)}
    items = {path for path in lines if isinstance(path[-1], int)}
    assert set(lines) - second_source - items == known


def test_the_examples_are_sound() -> None:
    config = parse_config(shown_text(), "config.yaml")
    assert set(config.detection.labels) == {"siren"}
    assert len(config.sources) == 2
    assert [rule.name for rule in config.alerts] == ["siren-to-operations"]
    assert config.sources[0] == Config().sources[0]


def test_the_daemon_finds_it_sound() -> None:
    assert load(FILE, {}).config == Config()
