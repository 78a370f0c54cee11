"""Thresholds for a place come from recordings of it, and are written where asked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from monitor.commands.app import run_command_line
from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.config.strict_yaml import read_yaml
from monitor.model.card import ModelCard
from monitor.model.networks import build_network
from monitor.model.thresholds import Thresholds
from monitor.model.trained import TrainedModel, load_model, save_model
from tests.support.curves import thresholds_on_curve
from tests.support.recordings import LABELS, RATE, SMALL_SPEC, write_folders
from training.calibrate import config_fragment, recall_text
from training.evaluate.ambience import highest_of_segments
from training.evaluate.recalibrate import (
    LabelThreshold,
    RecallCost,
    hardly_detected,
    label_thresholds,
    shortest_hours,
    with_thresholds,
)
from training.evaluate.thresholds import Threshold


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    torch.manual_seed(0)
    network = build_network("article", SMALL_SPEC, len(LABELS))
    network.normalise.mean.fill_(-60)
    network.normalise.deviation.fill_(20)
    card = ModelCard(name="small", preset="article", labels=LABELS)
    save_model(folder / "in.safetensors", TrainedModel(network, SMALL_SPEC, card))
    (folder / "nights").mkdir()
    r = np.random.default_rng(0)
    for number in range(3):
        noise = r.normal(0, 0.01 * (number + 1), 30 * RATE)
        soundfile.write(folder / "nights" / f"{number}.flac", noise, RATE)
    write_folders(folder / "data", groups=2)
    return folder


def calibrate(folder: Path, budget: str, *words: str) -> int:
    options = ["--model", str(folder / "in.safetensors"), "--cache", str(folder / "c")]
    background = ["--background", str(folder / "nights")]
    return run_command_line(
        ["calibrate", *background, "--false-alarms-per-day", budget, *options, *words]
    )


def test_a_curve_goes_with_the_threshold_of_a_place() -> None:
    before = thresholds_on_curve((0.9,) * 5 + (0.7,) + (0.5,) * 5)
    card = ModelCard(
        name="small",
        preset="article",
        labels=LABELS[:2],
        thresholds=dict.fromkeys(LABELS[:2], before),
    )
    found = [
        LabelThreshold(label, Threshold(onset, 0.4, 0.1, False), 0, 1.0, None)
        for label, onset in zip(LABELS[:2], (0.6, 0.95), strict=True)
    ]
    on_it, beyond_it = with_thresholds(card, found).thresholds.values()
    assert (on_it.onset, on_it.offset, on_it.false_alarms_per_hour) == (0.6, 0.4, 0.1)
    assert on_it == Thresholds.model_validate(on_it.model_dump())
    assert [on_it.onset_at(each) for each in (0, 0.5, 1)] == [0.9, 0.6, 0.5]
    assert (beyond_it.onset, beyond_it.curve) == (0.95, ())


def test_the_thresholds_of_the_configuration_do_not_matter_to_a_background() -> None:
    scores = np.random.default_rng(0).random((1, 64, 1), np.float32)
    own = LabelSettings(offset_threshold=0.9, smoothing_hops=3)
    detection = DetectionSettings(sensitivity=0.8, labels={"buzz": own})
    plain = DetectionSettings(labels={"buzz": LabelSettings(smoothing_hops=3)})
    found, _ = highest_of_segments(scores, ("buzz",), SMALL_SPEC, detection)
    expected, _ = highest_of_segments(scores, ("buzz",), SMALL_SPEC, plain)
    assert np.array_equal(found, expected)


def test_thresholds_are_written_into_a_model_file(folder: Path) -> None:
    out = folder / "out.safetensors"
    assert calibrate(folder, "24", "--out", str(out)) == 0
    card = load_model(out).card
    assert set(card.thresholds) == set(LABELS)
    before = load_model(folder / "in.safetensors").network.state_dict()
    after = load_model(out).network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_weights_stored_in_16_bits_stay_so(folder: Path) -> None:
    model = load_model(folder / "in.safetensors")
    model.network.half().float()
    save_model(folder / "half.safetensors", model, half=True)
    again = folder / "again.safetensors"
    words = ["--model", str(folder / "half.safetensors"), "--out", str(again)]
    assert calibrate(folder, "24", *words) == 0
    grown = again.stat().st_size - (folder / "half.safetensors").stat().st_size
    assert grown < 4000  # the thresholds, not the weights


def test_a_fragment_is_a_section_of_the_configuration(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(folder, "2", "--fragment") == 0
    fragment = yaml.safe_load(capsys.readouterr().out)
    assert set(fragment["detection"]["labels"]) == set(LABELS)


def test_the_recall_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(folder, "2", "--data", str(folder / "data"), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert 0.01 < facts["hours"] < 0.03
    for label in facts["labels"]:
        assert 0 <= label["recall"] <= 1
        # Nothing in T hours still allows 3 / T.
        assert label["rate_at_most"] >= 2.9 / facts["hours"]


def test_a_sensitivity_that_moves_the_new_thresholds_away_is_said(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, out = tmp_path / "config.yaml", str(tmp_path / "out.safetensors")
    config.write_text("detection: {sensitivity: 0.8}")
    assert calibrate(folder, "24", "--out", out, "--config", str(config)) == 0
    assert "has another sensitivity than 0.5" in caplog.text


def test_a_folder_without_recordings_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--background", str(tmp_path), "--model", str(folder / "in.safetensors")]
    assert run_command_line(["calibrate", "--false-alarms-per-day", "1", *options]) == 1
    assert "holds no recording" in capsys.readouterr().err


def test_a_stricter_budget_costs_more_recall() -> None:
    r = np.random.default_rng(0)
    background = (1 / (1 + np.exp(-r.normal(-3, 1, (4000, 1))))).astype(np.float32)
    clips = (1 / (1 + np.exp(-r.normal(1, 2, (500, 1))))).astype(np.float32)
    recalls = []
    for budget in (20.0, 1.0, 0.05):
        (found,) = label_thresholds(background, 5.0, budget, ("buzz",), [clips[:, 0]])
        assert found.recall is not None
        recalls.append(found.recall)
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] > recalls[-1]


def found_on_curve(onset: float, hours: float = 0.2) -> LabelThreshold:
    """What a background that reaches a score of `onset` gives, for one a day."""
    shipped = {"buzz": thresholds_on_curve((0.9,) * 5 + (0.7,) + (0.5,) * 5)}
    r = np.random.default_rng(0)
    background = (onset * r.random((400, 1))).astype(np.float32)
    (found,) = label_thresholds(background, hours, 1 / 24, ("buzz",), shipped=shipped)
    return found


def test_a_short_background_does_not_lower_a_threshold() -> None:
    short = found_on_curve(0.05)
    assert short.is_kept
    assert (short.threshold.onset, short.threshold.offset) == (0.7, 0.35)
    assert short.threshold.extrapolated
    assert 0 < short.threshold.false_alarms_per_hour < 1 / 24
    long = found_on_curve(0.05, hours=80)
    assert not long.is_kept
    assert long.threshold.onset < 0.5
    assert 71 < shortest_hours(1 / 24) < 73


def test_the_recall_without_recordings_is_that_of_the_curve() -> None:
    kept = found_on_curve(0.05)
    assert kept.beyond_curve is None
    assert kept.reported_recall == pytest.approx(0.75)
    above = found_on_curve(0.95)
    assert (above.beyond_curve, above.reported_recall) == ("above", 0.5)
    below = found_on_curve(0.05, hours=80)
    assert (below.beyond_curve, below.reported_recall) == ("below", 1.0)
    texts = [recall_text(each) for each in (kept, above, below)]
    assert texts == ["75 %", "< 50 %", "100 %"]
    assert recall_text(replace(above, reported_recall=1.0)) == "< 100 %"
    assert recall_text(replace(below, reported_recall=0.0)) == "> 0 %"
    assert recall_text(replace(kept, recall=0.125)) == "12 %"


def test_labels_that_are_hardly_detected_are_found() -> None:
    kept, above = found_on_curve(0.05), found_on_curve(0.95)
    assert hardly_detected([kept, above], {}) == ["buzz"]
    assert hardly_detected([kept], {}) == []
    # What was measured now counts before the report of the model.
    assert hardly_detected([above], {"buzz": RecallCost(20, 1, 4)}) == []
    assert hardly_detected([kept], {"buzz": RecallCost(20, 1, 19)}) == ["buzz"]
    assert hardly_detected([replace(above, recall=0.5)], {}) == []


def test_a_cost_and_the_loss_of_curves_are_said(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = load_model(folder / "in.safetensors")
    low = thresholds_on_curve([0.011 - 0.001 * n for n in range(11)])
    high = thresholds_on_curve([0.999 - 0.001 * n for n in range(11)])
    thresholds = dict(zip(LABELS, (low, high, high), strict=True))
    card = model.card.model_copy(update={"thresholds": thresholds})
    curved = tmp_path / "curved.safetensors"
    save_model(curved, replace(model, card=card))
    out = tmp_path / "out.safetensors"
    assert calibrate(folder, "2", "--model", str(curved), "--out", str(out)) == 0
    first, second, _ = LABELS
    assert f"few events of {first}, or none, may be detected" in caplog.text
    assert f"the new thresholds of {first} lie beyond their curves" in caplog.text
    assert load_model(out).card.thresholds[first].curve == ()
    assert load_model(out).card.thresholds[second] == high.model_copy(
        update=load_model(out)
        .card.thresholds[second]
        .model_dump(include={"false_alarms_per_hour"})
    )
    printed = capsys.readouterr().out
    assert "< 50 %" in printed
    assert "75 %" in printed
    assert "a background of 36 hours or more" in printed
    assert "12 to 20 dB above the background" in printed
    assert not set("│┃━") & set(printed)


def test_a_fragment_has_the_facts_of_a_label_above_it() -> None:
    found = [
        LabelThreshold(label, Threshold(0.5, 0.3, rate, False), 0, 1.0, None)
        for label, rate in (("bark", 18.4), ("horn", 0.02))
    ]
    lines = config_fragment(found, 1.0).splitlines()
    assert lines == [
        "# False alarms expected in total: 442 a day, more than allowed: some "
        "thresholds are at their limit.",
        "detection:",
        "  labels:",
        "    # false alarms: 442 a day",
        "    bark: {onset_threshold: 0.5, offset_threshold: 0.3}",
        "    # false alarms: 0.48 a day",
        "    horn: {onset_threshold: 0.5, offset_threshold: 0.3}",
    ]


@pytest.mark.parametrize("label", ["no", "3", "a: b # c", '"x', "Türe (zu)", "犬", "-"])
def test_a_fragment_is_yaml_whatever_the_label_is(label: str) -> None:
    found = LabelThreshold(label, Threshold(0.5, 0.3, 0.1, False), 0, 1.0, None)
    read = read_yaml(config_fragment([found], 1.0), "fragment").data
    assert list(read["detection"]["labels"]) == [label]


def test_a_background_of_minutes_and_unusable_files_are_said(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nights = shutil.copytree(folder / "nights", tmp_path / "nights")
    (nights / "broken.wav").write_text("this is no sound")
    soundfile.write(nights / "short.wav", np.ones(RATE), RATE)
    (nights / "night.m4a").touch()
    words = ("--model", str(folder / "in.safetensors"), "--false-alarms-per-day", "2")
    assert run_command_line(["calibrate", "--background", str(nights), *words]) == 0
    assert "minutes of background can show no rate below" in caplog.text
    for name in ("broken.wav", "short.wav", "night.m4a"):
        assert name in caplog.text


def test_an_output_that_cannot_be_written_is_refused_first(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(folder, "24", "--out", str(tmp_path)) == 2
    assert "is a folder; name a file in it" in capsys.readouterr().err


def test_a_false_alarm_that_was_counted_is_in_the_rate() -> None:
    """However far it is above all the others, and however many they are."""
    background = np.full((20_000, 1), 0.1, np.float32)
    background[7] = 0.96674
    for clips in ([], [np.full(4, 0.998, np.float32)]):
        (found,) = label_thresholds(background, 24.0, 0.5 / 24, ("buzz",), clips)
        assert found.counted == 0
        assert 0.9667 < found.threshold.onset < 0.968
        (found,) = label_thresholds(background, 24.0, 2 / 24, ("buzz",), clips)
        assert found.threshold.onset < 0.9
        assert found.threshold.false_alarms_per_hour == pytest.approx(1 / 24)
