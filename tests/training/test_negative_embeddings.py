"""Negatives are made from folders of sounds and a table of places."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.errors import DatasetError, UsageError
from monitor.model.negatives import read_negatives, write_negatives
from tests.support.doorbell import other_sound
from tests.support.taught import KINDS, NETWORK, SPEC, spectrum_embedder
from training.negative_embeddings import (
    HOP_SECONDS,
    main,
    negatives_of,
    places_in,
    sounds_in,
)

RATE = SPEC.sample_rate


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for kind in KINDS:
        (tmp_path / "sounds" / kind).mkdir(parents=True)
        for fold in (1, 2):
            path = tmp_path / "sounds" / kind / f"{fold}-100.wav"
            soundfile.write(path, other_sound(kind, RATE, fold, 5.0), RATE)
    return tmp_path / "sounds"


@pytest.fixture
def places(tmp_path: Path) -> Path:
    rows = ["path,group"]
    for number, group in enumerate(("street", "office", "street")):
        hum = other_sound("hum", RATE, number, 21.0)
        soundfile.write(tmp_path / f"place{number}.wav", hum, RATE)
        rows.append(f"place{number}.wav,{group}")
    table = tmp_path / "places.csv"
    table.write_text("\n".join(rows))
    return table


def test_a_window_of_each_sound_and_one_every_five_seconds_of_places(
    sounds: Path, places: Path, tmp_path: Path
) -> None:
    embedder = spectrum_embedder()
    found = negatives_of(embedder, NETWORK, sounds_in([sounds]), places_in(places))
    assert found.card.sounds == KINDS
    assert found.card.places == ("office", "street")
    window = SPEC.seconds(SPEC.window_samples)
    each = int((21 - window) // HOP_SECONDS) + 1
    assert np.bincount(found.kinds).tolist() == [2, 2, 2, each, 2 * each]
    write_negatives(tmp_path / "n", found)
    assert read_negatives(tmp_path / "n").hours == found.hours


def test_a_recording_that_is_there_twice_is_used_once(
    sounds: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = sounds / KINDS[0] / "1-100.wav"
    first.with_name("3-100.wav").write_bytes(first.read_bytes())
    assert len(sounds_in([sounds])) == 2 * len(KINDS)
    assert "duplicate" in caplog.text


def test_folders_without_recordings_and_other_tables_are_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DatasetError, match="no usable recording"):
        sounds_in([tmp_path])
    (table := tmp_path / "t.csv").write_text("name\nx\n")
    with pytest.raises(DatasetError, match="path"):
        places_in(table)
    with pytest.raises(UsageError, match="no such folder"):
        places_in(tmp_path / "none.csv")
    arguments = [str(tmp_path), "--places", str(table), "--model", str(tmp_path / "m")]
    assert main(arguments) == 1
    assert "there is no such model file" in capsys.readouterr().err
