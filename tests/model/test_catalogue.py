"""Labels are chosen by name, of several models, for each source."""

from collections.abc import Mapping, Sequence

import pytest
from pydantic import ValidationError

from monitor.errors import ConfigError
from monitor.model.card import ModelCard
from monitor.model.catalogue import (
    CatalogueEntry,
    LabelChoice,
    choose_labels,
    default_labels,
    known_labels,
    members_of,
    nearest,
)


def card(
    name: str,
    labels: Sequence[str],
    catalogue: Mapping[str, CatalogueEntry] | None = None,
) -> ModelCard:
    return ModelCard(
        name=name,
        preset="article",
        labels=tuple(labels),
        catalogue=catalogue or {},
        licence="none",
        created="2026-01-01T00:00:00Z",
    )


def entry(*classes: str, group: str | None = None) -> CatalogueEntry:
    return CatalogueEntry(text="A sound.", classes=classes, group=group)


TOWN = card("town", ("siren", "drilling", "dog_bark"))
"""Without a catalogue."""

ALL = card(
    "all",
    ("speech", "siren", "bark", "howl", "meow", "rain", "wind", "tick"),
    {
        "voice": entry("speech"),
        "siren": entry("siren"),
        "animal": entry("bark", "howl", "meow"),
        "dog": entry("bark", "howl", group="animal"),
        "cat": entry("meow", group="animal"),
        "weather": entry("rain", "wind"),
    },
)
"""With one: four labels are reported by default, two are reported as one."""

BY_DEFAULT = ("voice", "siren", "animal", "weather")


def chosen(
    cards: Sequence[ModelCard],
    labels: Sequence[str] | None = None,
    others: Mapping[str, ModelCard] | None = None,
    **by_source: Sequence[str] | None,
) -> LabelChoice:
    return choose_labels(cards, labels, by_source or {"street": None}, others)


def test_a_model_knows_its_catalogue_and_its_other_classes() -> None:
    classes = ("speech", "bark", "howl", "meow", "rain", "wind", "tick")
    assert known_labels(ALL) == (*ALL.catalogue, *classes)
    assert known_labels(TOWN) == default_labels(TOWN) == TOWN.labels
    assert default_labels(ALL) == BY_DEFAULT
    assert members_of(ALL, "animal") == ("dog", "cat")
    assert members_of(ALL, "voice") == ()


def test_if_none_is_chosen_the_default_ones_are_scored_and_reported() -> None:
    choice = chosen([ALL])
    assert choice.reported == {"street": BY_DEFAULT}
    assert choice.scored[0].labels == BY_DEFAULT
    assert choice.scored[0].classes == ((0,), (1,), (2, 3, 4), (5, 6))


def test_labels_of_a_group_and_classes_can_be_chosen_by_name() -> None:
    (scored,) = chosen([ALL], ["tick", "cat", "voice"]).scored
    assert scored.labels == ("voice", "cat", "tick")
    assert scored.classes == ((0,), (4,), (7,))


def test_a_model_without_a_catalogue_scores_all_of_its_classes() -> None:
    """They may be rivals of those that are reported."""
    choice = chosen([TOWN], ["siren"])
    assert choice.reported == {"street": ("siren",)}
    assert choice.all_reported == ("siren",)
    assert choice.scored[0].labels == TOWN.labels
    assert choice.scored[0].classes == ((0,), (1,), (2,))


@pytest.mark.parametrize("cards", [(TOWN, ALL), (ALL, TOWN)])
def test_a_label_of_several_models_is_scored_by_the_first(
    cards: Sequence[ModelCard],
) -> None:
    choice = chosen(cards)
    by_model = [
        (owner.name, scored.labels)
        for owner, scored in zip(cards, choice.scored, strict=True)
    ]
    if cards[0] is TOWN:
        expected = [("town", TOWN.labels), ("all", ("voice", "animal", "weather"))]
        reported = (*TOWN.labels, "voice", "animal", "weather")
    else:
        expected = [("all", BY_DEFAULT), ("town", ("drilling", "dog_bark"))]
        reported = (*BY_DEFAULT, "drilling", "dog_bark")
    assert by_model == expected
    assert choice.reported == {"street": reported}
    assert choice.all_reported == reported


def test_a_model_with_a_catalogue_of_which_nothing_is_reported_scores_nothing() -> None:
    for labels in (["drilling"], ["drilling", "siren"]):
        choice = chosen([TOWN, ALL], labels)
        assert [scored.labels for scored in choice.scored] == [TOWN.labels, ()]


def test_each_source_may_report_other_labels() -> None:
    choice = chosen([ALL], ["voice"], yard=["dog", "voice"], street=None, door=["cat"])
    assert choice.reported == {
        "yard": ("dog", "voice"),
        "street": ("voice",),
        "door": ("cat",),
    }
    assert choice.scored[0].labels == ("voice", "dog", "cat")


def test_a_source_may_choose_although_the_others_take_the_default() -> None:
    choice = chosen([ALL], yard=["dog"], street=None)
    assert choice.reported == {"yard": ("dog",), "street": BY_DEFAULT}


def test_a_label_that_is_chosen_twice_is_reported_once() -> None:
    assert chosen([ALL], ["dog", "dog"]).reported == {"street": ("dog",)}


@pytest.mark.parametrize(
    ("labels", "others", "rule"),
    [
        (["sirn"], {}, r"^labels: 'sirn' is not a label of town; did you mean siren\?"),
        (["siren", "cat"], {"all": ALL}, r"model all has it; .* models: \[town, all\]"),
        (["dog"], {}, r"did you mean dog_bark\?"),
        (["xyz"], {}, r"choose from siren, drilling, dog_bark; .*model --labels"),
        (["wether"], {"all": ALL}, r"did you mean weather"),
    ],
)
def test_an_unknown_label_is_answered_with_those_that_were_meant(
    labels: list[str], others: dict[str, ModelCard], rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule):
        chosen([TOWN], labels, others)


def test_the_key_of_an_unknown_label_is_that_of_its_source() -> None:
    with pytest.raises(ConfigError, match=r"^sources\[1\].labels: 'sirn' is not"):
        chosen([TOWN], street=None, yard=["sirn"])


def test_of_many_names_the_first_ones_are_listed() -> None:
    names = [f"label{chr(97 + index)}" for index in range(20)]
    hint = nearest("zzz", names)
    assert hint.startswith("choose from labela, labelb")
    assert hint.endswith("and 8 more")
    assert nearest("sirn", ["siren", "stir", "siren"]) == "did you mean siren, stir?"


def test_rules_may_name_groups_of_which_single_labels_are_reported() -> None:
    choice = chosen([ALL], ["dog", "cat", "voice"])
    assert choice.expand(["animal"], "clips.labels") == ("dog", "cat")
    assert choice.expand(["voice", "dog", "animal"], "k") == ("voice", "dog", "cat")
    assert chosen([ALL], ["dog"]).expand(["animal"], "k") == ("dog",)
    assert chosen([ALL]).expand(["animal"], "k") == ("animal",)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("dog", r"^k: 'dog' is reported as animal; take animal, or choose dog in"),
        ("tick", r"^k: 'tick' is not a label that is reported; choose from voice"),
        ("animals", r"^k: 'animals' .* did you mean animal\?"),
    ],
)
def test_a_rule_for_what_is_not_reported_is_an_error(name: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        chosen([ALL]).expand([name], "k")


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        ({"dog": entry("woof")}, r"catalogue.dog: 'woof' is not one of the labels"),
        (
            {"dog": entry("bark", group="pet")},
            r"group: 'pet' is not a label of its own",
        ),
        (
            {
                "animal": entry("bark"),
                "dog": entry("bark", group="animal"),
                "pup": entry("bark", group="dog"),
            },
            r"catalogue.pup.group: 'dog' is not a label of its own",
        ),
    ],
)
def test_a_catalogue_that_contradicts_itself_is_no_card(
    entries: dict[str, CatalogueEntry], rule: str
) -> None:
    with pytest.raises(ValidationError, match=rule):
        card("bad", ("bark",), entries)
