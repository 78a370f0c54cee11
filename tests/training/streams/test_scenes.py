"""`scenes` writes streams, and lists their material."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.commands.app import run_command_line
from tests.support.recordings import LABELS, RATE, write_folders, write_negatives
from training.data.recordings import find_streams
from training.streams.evaluate import read_annotation


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_folders(folder / "data", groups=5, slices=1)
    write_negatives(folder / "noises")
    return folder


def scenes(folder: Path, out: str, *words: str) -> int:
    paths = ["--negatives", str(folder / "noises"), "--cache", str(folder / "cache")]
    options = ["--hours", "0.02", "--out", str(folder / out)]
    return run_command_line(["scenes", *words, *paths, *options])


def test_events_are_made_of_the_folds_asked_for(folder: Path) -> None:
    words = ("--folds", "1", "--negatives-folds", "3", "--events-per-minute", "20")
    assert scenes(folder, "events", str(folder / "data"), *words) == 0
    facts = json.loads((folder / "events" / "scenes.json").read_text())
    assert facts["events"]["folds"] == [1]
    assert facts["events"]["recordings"] == 3
    assert facts["backgrounds"]["folds"] == [3]
    assert facts["settings"]["snr_db"] == [6, 20]
    ((_, table),) = find_streams(folder / "events")
    events = read_annotation(table)
    assert len(events) > 10
    assert {event.label for event in events} <= set(LABELS)
    for label in LABELS:
        own = [event for event in events if event.label == label]
        for event, after in pairwise(own):
            assert event.offset <= after.onset, "one label sounds once at a time"


def test_ambience_needs_no_labelled_recordings(folder: Path) -> None:
    assert scenes(folder, "ambience", "--events-per-minute", "0") == 0
    ((_, table),) = find_streams(folder / "ambience")
    assert read_annotation(table) == ()
    facts = json.loads((folder / "ambience" / "scenes.json").read_text())
    assert facts["events"]["clips"] == 0
    assert facts["backgrounds"]["minutes"] == pytest.approx(6 * 2 / 60, abs=0.01)


def test_few_recordings_are_enough_where_no_folds_are_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folders(tmp_path / "data", groups=1, slices=1)
    (tmp_path / "noises").mkdir()
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * RATE)
    soundfile.write(tmp_path / "noises" / "one.wav", samples, RATE)
    assert scenes(tmp_path, "few", str(tmp_path / "data")) == 0
    facts = json.loads((tmp_path / "few" / "scenes.json").read_text())
    assert facts["backgrounds"]["recordings"] == 1
    assert facts["events"]["recordings"] == len(LABELS)
    words = (str(tmp_path / "data"), "--negatives-folds", "1")
    assert scenes(tmp_path, "none", *words) == 1
    assert "1 recording cannot be dealt into 5 folds" in capsys.readouterr().err


def test_missing_material_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scenes(folder, "none") == 2
    assert "DATA is missing" in capsys.readouterr().err
    words = (str(folder / "data"), "--negatives-folds", "7")
    assert scenes(folder, "none", *words) == 1
    assert "there is no fold 7 in the negatives; found 1, 2, 3" in (
        capsys.readouterr().err
    )
