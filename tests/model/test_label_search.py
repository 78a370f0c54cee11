"""The labels that models offer are in order, and are found by what users type."""

from pathlib import Path

import pytest

from monitor.model.card import read_card
from monitor.model.label_search import OfferedLabel, named, offered_labels, search
from tests.support.catalogues import catalogue_card


@pytest.fixture
def labels() -> list[OfferedLabel]:
    return offered_labels({"here": catalogue_card()})


def names(labels: list[OfferedLabel]) -> list[str]:
    return [each.name for each in labels]


def test_members_follow_their_group_and_classes_come_last(
    labels: list[OfferedLabel],
) -> None:
    assert names(labels) == ["alarm", "shot", "siren", "drilling", "gun_shot"]
    assert [each.is_listed for each in labels] == [True] * 3 + [False] * 2
    assert [each.is_default for each in labels] == [True] + [False] * 4
    assert labels[0].members == ("shot", "siren")
    assert labels[-1].inside == ("shot", "alarm")


def test_every_label_of_a_model_without_a_catalogue_is_listed() -> None:
    card = read_card("urban").card
    labels = offered_labels({"urban": card})
    assert tuple(names(labels)) == card.labels
    assert all(each.is_listed and each.is_default for each in labels)


def test_a_rate_of_false_alarms_alone_says_nothing_about_detection(
    labels: list[OfferedLabel],
) -> None:
    shot, siren = labels[1:3]
    assert shot.expected is not None
    assert not shot.is_measured
    assert siren.is_measured


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("police", ["siren"]),  # in a sentence
        ("gun", ["alarm", "shot", "gun_shot"]),  # in names and classes
        ("Gun-Shot", ["alarm", "shot", "gun_shot"]),
        ("larm", ["alarm"]),  # begins no word, but is in one
        ("ill", ["drilling"]),
        ("thunder", []),
        ("!", []),
    ],
)
def test_a_word_is_found(
    word: str, found: list[str], labels: list[OfferedLabel]
) -> None:
    assert names(search(word, labels)) == found


def test_the_start_of_a_word_is_preferred_to_its_middle() -> None:
    world = offered_labels({"world": read_card("world").card})
    assert names(search("art", world)) == ["artillery_fire"]  # not "party"


def test_a_name_is_that_of_each_model() -> None:
    cards = {name: read_card(name).card for name in ("urban", "world")}
    found = named(" Dog bark ", offered_labels(cards))
    assert [(each.model, each.name) for each in found] == [
        ("urban", "dog_bark"),
        ("world", "dog_bark"),
    ]


def test_an_included_model_is_named_by_a_text_or_a_path() -> None:
    assert read_card(Path("world")) == read_card("world")
