"""`model --labels` lists, searches and explains the labels that can be chosen."""

import json
from pathlib import Path

import pytest

from monitor.commands.process import print_table
from monitor.model.card import INCLUDED, read_card
from tests.support.commands import fails, lines_of, run


def cells(lines: list[str]) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in lines if line}


def test_labels_of_a_file_are_listed_by_group(
    catalogue_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(capsys, "model", catalogue_file, "--labels")
    assert lines[0].split() == [
        *("LABEL", "MODEL", "DETECTED", "FALSE/H", "AP", "SOUND"),
    ]
    assert [line.split()[0] for line in lines[1:4]] == ["alarm", "shot", "siren"]
    assert [line.startswith("  ") for line in lines[1:4]] == [False, True, True]
    rows = cells(lines)
    assert rows["shot"][1:] == [
        "unmeasured",
        "0.2",
        "-",
        "A",
        "shot",
        "of",
        "a",
        "gun.",
    ]
    assert rows["siren"][1:4] == ["75%", "0.2", "0.75"]
    assert rows["alarm"][1:4] == ["unmeasured", "-", "-"]
    assert "2 further classes of" in "".join(lines)


def test_labels_of_all_included_models_are_listed_without_a_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = cells(lines_of(capsys, "model", "--labels"))
    for model in INCLUDED:
        card = read_card(model).card
        assert set(card.catalogue or card.labels) <= rows.keys()
    assert rows["air_conditioner"][0] == "urban"
    assert rows["smoke_alarm"][0] == "world"
    assert "crackle" not in rows


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("fire", {"fire_alarm", "fireworks", "siren", "fire", "artillery_fire"}),
        ("smoke", {"alarm", "smoke_alarm", "smoke_detector_smoke_alarm"}),
        ("miaows", {"cat"}),
        ("crackle", {"crackle"}),
    ],
)
def test_a_word_is_searched_in_names_sentences_and_classes(
    word: str, found: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(run(capsys, "model", "--labels", word, "--json"))
    assert found <= {each["label"] for each in document["labels"]}
    assert "running_water" not in {each["label"] for each in document["labels"]}
    text = run(capsys, "model", "--labels", word)
    assert all(name in text for name in found)


def test_a_member_that_is_found_stands_below_its_group(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = lines_of(capsys, "model", "--labels", "circular")
    assert [line.split()[0] for line in lines[1:3]] == ["tools", "power_tool"]


def test_a_label_is_explained(
    catalogue_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(capsys, "model", catalogue_file, "--labels", "siren")
    assert lines[:6] == [
        "label    siren",
        f"model    {catalogue_file}",
        "sound    A police car.",
        "group    alarm, which reports it together with others",
        "classes  siren",
        "preset   lasting: an event lasts 0.5 s at least, and ends after 2 s without "
        "the sound",
    ]
    assert "onset    0.700, offset 0.350" in lines
    assert "clips    50% of 7 reach the threshold, average precision 0.75" in lines
    curve = [line for line in lines if line.startswith("0.5 ")]
    assert curve[0].split()[:5] == ["0.5", "0.700", "75%", "45%", "2.0"]
    start = lines.index("To report it alone:")
    assert lines[start + 1 : start + 4] == [
        f"  model: {catalogue_file}",
        "  labels: [siren]",
        f"Without labels, {catalogue_file} reports it as alarm.",
    ]


def test_a_group_names_its_members_and_the_classes_of_all_models_are_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = run(capsys, "model", "--labels", "dog")
    assert "members  dog_bark, dog_howl, dog_growl; all of them are dog" in text
    text = run(capsys, "model", "--labels", "whimper_dog")
    assert "sound    A class of the network." in text
    assert "onset    0.6, offset 0.4: those of the preset, unmeasured" in text
    text = run(capsys, "model", "--labels", "dog bark")
    assert text.count("label    dog_bark") == 2
    assert "  model: world\n  labels: [dog_bark]\n" in text
    assert "To report it alone:\n  labels: [dog_bark]\n" in text


def test_a_word_without_a_match_is_answered_with_the_nearest_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, message = fails(capsys, "model", "--labels", "smokealrm")
    assert code == 2
    assert "'smokealrm' in the labels of urban or world; did you mean smoke_alarm" in (
        message
    )


def test_a_file_in_place_of_a_word_is_answered_with_the_right_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, message = fails(capsys, "model", "--labels", "mine.safetensors")
    assert code == 2
    assert "sound-monitor model mine.safetensors --labels" in message


def test_json_has_every_label_with_its_figures(
    catalogue_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "model", catalogue_file, "--labels", "--json")
    labels = {each["label"]: each for each in json.loads(out)["labels"]}
    assert set(labels) == {"alarm", "shot", "siren", "drilling", "gun_shot"}
    assert labels["siren"]["figures"]["average_precision"] == 0.75
    assert labels["siren"]["expected"]["detected_near"] == 0.75
    assert labels["shot"]["group"] == "alarm"
    assert not labels["shot"]["measured"]
    assert labels["drilling"]["expected"] is None


@pytest.mark.parametrize(
    "words",
    [
        ["--labels", "siren", "--curves"],
        ["--labels", "--convert", "new.safetensors"],
    ],
)
def test_other_forms_of_the_command_are_not_combined(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = fails(capsys, "model", *words)
    assert (code, "--labels cannot be combined" in message) == (2, True)


def test_an_included_model_is_named_like_a_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = lines_of(capsys, "model", "world")
    assert "labels of 527 classes" in lines[0]
    rows = cells(lines)
    assert "smoke_alarm" in rows
    assert "crackle" not in rows
    assert "PRECISION" not in "".join(lines)


@pytest.mark.parametrize("columns", [80, 100])
def test_a_sentence_is_broken_at_the_width_of_the_terminal(
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = lines_of(capsys, "model", "--labels")
    assert max(map(len, lines)) <= columns


def test_a_text_that_is_broken_goes_on_in_its_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "29")
    print_table(
        ("A", "B"), [("x", "one two three four five six"), ("y", "")], wraps=True
    )
    assert capsys.readouterr().out == ("A  B\nx  one two three four five\n   six\ny\n")
