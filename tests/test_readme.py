"""What the README says is so."""

import re

from monitor.audio.sources.demo import SCENE
from monitor.model.card import read_card
from monitor.records import EndReason
from monitor.sinks.encoding import KEYS
from tests.support import ROOT

README = (ROOT / "README.md").read_text()


def test_the_true_times_of_the_demo_are_told() -> None:
    for sound in SCENE:
        assert f"from {sound.start_seconds} to {sound.end_seconds} s" in README
    assert len(re.findall(r"from \d+\.\d+ to \d+\.\d+ s", README)) == len(SCENE)


def test_the_labels_of_the_shipped_model_are_named() -> None:
    (sentence,) = [line for line in README.splitlines() if "ten sounds are" in line]
    named = re.findall(r"\w+", sentence.partition(" are ")[2].replace(" and ", " "))
    assert tuple(named) == read_card(None).card.labels


def test_every_key_of_a_record_is_explained() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `")]
    explained = {key for row in rows for key in re.findall(r"`(\w+)`", row[:40])}
    assert set(KEYS) <= explained


def test_every_end_reason_is_explained() -> None:
    (row,) = [line for line in README.splitlines() if line.startswith("| `end_reason`")]
    assert set(re.findall(r"`([a-z-]+)`", row)) == set(EndReason.__args__)  # type: ignore[attr-defined]
