"""The catalogue of world names classes of AudioSet, and is in the shipped model."""

from pathlib import Path

import pytest

from monitor.errors import ConfigError, DatasetError
from monitor.model.card import ModelCard, read_card
from training.world.catalogue import Entry, read_catalogue
from training.world.network import label_of

ENTRIES = read_catalogue()


@pytest.fixture(scope="module", name="card")
def _card() -> ModelCard:
    return read_card("world").card


def test_every_class_is_one_of_the_network(card: ModelCard) -> None:
    named = {name for entry in ENTRIES.values() for name in entry.classes}
    unknown = {name for name in named if label_of(name) not in card.labels}
    assert unknown == set()


def test_every_group_is_a_label_that_is_reported_by_default() -> None:
    groups = {entry.group for entry in ENTRIES.values() if entry.group is not None}
    assert groups
    assert all(ENTRIES[group].group is None for group in groups)


def test_the_shipped_card_has_this_catalogue(card: ModelCard) -> None:
    """Else a text was changed without building the file again."""
    labels = {
        name: label_of(name) for entry in ENTRIES.values() for name in entry.classes
    }
    built = {label: entry.for_card(labels) for label, entry in ENTRIES.items()}
    shipped = {
        label: entry.model_copy(update={"figures": None})
        for label, entry in card.catalogue.items()
    }
    assert shipped == built
    assert tuple(shipped) == tuple(built)


def test_labels_with_clips_are_measured_and_no_others(card: ModelCard) -> None:
    for label, entry in card.catalogue.items():
        assert (entry.figures is None) == (not ENTRIES[label].clips), label
        assert len(card.thresholds[label].curve) == 11, label


def test_clips_that_have_a_label_are_not_those_that_may_have_it() -> None:
    for label, entry in ENTRIES.items():
        assert not {*entry.clips} & {*entry.also}, label


def test_a_class_that_the_table_lacks_is_named() -> None:
    entry = Entry(text="A dog.", classes=("Dog", "Bark"))
    assert entry.for_card({"Dog": "dog", "Bark": "bark"}).classes == ("dog", "bark")
    with pytest.raises(DatasetError, match="lacks the class 'Bark'"):
        entry.for_card({"Dog": "dog"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dog: {text: A dog.}", "classes"),
        ("dog: {text: A dog., classes: [Dog], colour: red}", "colour"),
        ("dog: {text: A dog., classes: [Dog], preset: loud}", "preset"),
    ],
)
def test_a_catalogue_that_breaks_a_rule_is_rejected(
    tmp_path: Path, text: str, words: str
) -> None:
    (path := tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_catalogue(path)
