from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.recordings import LABELS, RATE, SMALL_SPEC, sound, write_folders
from training.data.decoded import ClipStore, open_store
from training.data.discovery import read_manifest, read_negatives
from training.data.manifest import Clip
from training.heads.beds import BedMaker
from training.heads.streams import ABSENT_DB, ColumnGrid, StreamMaker
from training.mixtures.augment import looped
from training.mixtures.synthetic import loudness

GRID = ColumnGrid(SMALL_SPEC, total_stride=16)
SECONDS = 30
Recordings = tuple[tuple[Clip, ...], ClipStore]


def negatives(folder: Path, level: float = 0.1) -> Recordings:
    folder.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).standard_normal(2 * RATE)
        soundfile.write(folder / f"{number}.wav", level * noise, RATE)
    manifest, store = open_store(read_negatives([folder]), RATE, folder.parent / "c")
    return manifest.clips, store


@pytest.fixture(name="beds")
def _beds(tmp_path: Path) -> BedMaker:
    places, clips = negatives(tmp_path / "p"), negatives(tmp_path / "n", 0.2)
    return BedMaker(*places, *clips, RATE)


@pytest.fixture(name="maker")
def _maker(tmp_path: Path) -> StreamMaker:
    manifest = read_manifest(write_folders(tmp_path / "data", groups=2))
    manifest, store = open_store(manifest, RATE, tmp_path / "cache")
    return StreamMaker(manifest.clips, store, LABELS, GRID)


def streams(maker: StreamMaker, beds: BedMaker, count: int = 20) -> list:
    return [
        maker.make(np.random.default_rng([1, n]), beds, SECONDS * RATE)
        for n in range(count)
    ]


def test_a_stream_is_the_same_for_the_same_seed(
    maker: StreamMaker, beds: BedMaker
) -> None:
    (one,), (other,) = (streams(maker, beds, 1) for _ in range(2))
    assert np.array_equal(one.samples, other.samples)
    assert np.array_equal(one.snr_db, other.snr_db)


def test_streams_have_all_labels_all_beds_and_full_length(
    maker: StreamMaker, beds: BedMaker
) -> None:
    made = streams(maker, beds)
    columns = GRID.powers(np.zeros(SECONDS * RATE, np.float32)).shape
    for stream in made:
        assert stream.samples.shape == (1, SECONDS * RATE)
        assert stream.snr_db.shape == (*columns, len(LABELS))
        assert np.abs(stream.samples).max() <= 1.1
    heard = np.concatenate([stream.snr_db for stream in made]) > ABSENT_DB
    assert heard.any(axis=0).all()
    assert 0.02 < heard.mean() < 0.5
    assert {stream.bed.kind for stream in made} >= {"place", "changing", "silent"}
    assert all(stream.bed.has_place for stream in made if stream.bed.kind == "place")


def test_the_level_of_a_column_is_that_of_the_sound_in_it() -> None:
    samples = np.zeros(4 * RATE, np.float32)
    samples[RATE : 2 * RATE] = sound("hiss", 0, seconds=1.0)
    powers = GRID.powers(samples)
    seconds = np.arange(len(powers)) * 16 * SMALL_SPEC.hop_length / RATE
    loud = powers > powers.max() / 10
    # Columns are 0.26 s wide, and the first is centred on the first frame.
    assert seconds[loud].min() == pytest.approx(1.0, abs=0.15)
    assert seconds[loud].max() == pytest.approx(2.0, abs=0.15)


def test_a_short_sound_is_repeated_without_a_pause() -> None:
    r = np.random.default_rng(0)
    noise = r.standard_normal(RATE).astype(np.float32)
    made = looped(r, noise, 10 * RATE, RATE)
    assert made.shape == (10 * RATE,)
    parts = made.reshape(-1, RATE // 10)
    levels = [loudness(part) for part in parts]
    assert min(levels) > 0.7 * max(levels)
