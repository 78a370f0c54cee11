import json
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
import soundfile

from monitor.audio.conditioning import at_most_two_channels
from tests.support.recordings import RATE, sound
from training.data.decoded import UnusableRecordingError, load_audio, open_store
from training.data.manifest import NO_FOLD, Clip, Manifest


def manifest_of(paths: list[Path]) -> Manifest:
    clips = tuple(Clip(path, 0, path.stem, NO_FOLD) for path in paths)
    return Manifest(("buzz",), clips)


def test_a_decoded_clip_is_the_recording_to_16_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sound("hiss", 1), RATE, subtype="FLOAT")
    _, store = open_store(manifest_of([path]), RATE, tmp_path / "cache")
    assert np.abs(store.read(path)[0] - sound("hiss", 1)).max() < 1 / 32_000


def test_recordings_beyond_full_scale_are_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, 8 * sound("hiss", 1), RATE, subtype="FLOAT")
    _, store = open_store(manifest_of([path]), RATE, tmp_path / "cache")
    assert np.abs(store.read(path)[0] - 8 * sound("hiss", 1)).max() < 1e-3


def test_any_rate_and_channel_count_becomes_the_model_s(tmp_path: Path) -> None:
    path = tmp_path / "many.flac"
    soundfile.write(path, np.tile(sound("buzz", 1)[:, None], (1, 2)), RATE)
    _, store = open_store(manifest_of([path]), 2 * RATE, tmp_path / "cache")
    assert store.read(path).shape == (2, 2 * len(sound("buzz", 1)))
    assert store.channels == 2


def test_many_channels_are_mixed_as_the_monitor_mixes_them(tmp_path: Path) -> None:
    path = tmp_path / "surround.wav"
    samples = np.zeros((6_400, 6), np.float32)
    samples[:, 2] = sound("hiss", 1)  # the centre alone
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    decoded = load_audio(path, RATE)
    np.testing.assert_array_equal(decoded, at_most_two_channels(samples.T))
    np.testing.assert_allclose(decoded[0], samples[:, 2] / 6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[: len(data) // 2], "cut off"),
        (lambda data: data * 2, "joined"),
        (lambda data: b"", "empty"),
        (lambda data: b"text", "unreadable"),
    ],
)
def test_a_recording_that_is_not_whole_is_left_out(
    change: Callable[[bytes], bytes], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, sound("hiss", 1, seconds=9), RATE)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UnusableRecordingError, match=reason):
        load_audio(path, RATE)


def test_a_recording_shorter_than_a_sample_of_the_model_is_left_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "click.wav"
    soundfile.write(path, np.full(1, 0.5), 16 * RATE)
    with pytest.raises(UnusableRecordingError, match="empty"):
        load_audio(path, RATE)


def test_the_name_of_a_clip_may_have_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9\n.wav")
    soundfile.write(os.fsencode(path), sound("hiss", 1), RATE, format="WAV")
    for _ in range(2):  # decodes, then finds it decoded
        _, store = open_store(manifest_of([path]), RATE, tmp_path / "cache")
        assert store.read(path).shape == (1, 6_400)


def test_silence_at_the_ends_is_not_part_of_the_sound(tmp_path: Path) -> None:
    path = tmp_path / "padded.wav"
    wave = sound("hiss", 1)
    soundfile.write(path, np.concatenate([np.zeros(999), wave, np.zeros(77)]), RATE)
    _, store = open_store(manifest_of([path]), RATE, tmp_path / "cache")
    assert abs(store.sound(path).shape[1] - len(wave)) < 20
    assert store.read(path).shape[1] == len(wave) + 999 + 77


def test_what_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    good, silent, broken = (tmp_path / f"{n}.wav" for n in ("good", "silent", "nan"))
    soundfile.write(good, sound("buzz", 1), RATE)
    soundfile.write(silent, np.zeros(100), RATE)
    soundfile.write(broken, np.full(100, np.nan), RATE, subtype="FLOAT")
    manifest, _ = open_store(
        manifest_of([good, silent, broken]), RATE, tmp_path / "cache"
    )
    assert [clip.path for clip in manifest.clips] == [good]
    assert [entry.reason for entry in manifest.left_out] == ["silent", "not finite"]


def decode_together(
    paths: list[Path], cache: Path, begin: Barrier, decoded: Queue[int]
) -> None:
    begin.wait()
    steps: list[int] = []
    _, store = open_store(
        manifest_of(paths), RATE, cache, lambda _, done, total: steps.append(done)
    )
    assert all(store.read(path).shape[1] == len(sound("hiss", 1)) for path in paths)
    decoded.put(max(steps, default=0))


def test_of_two_runs_that_start_together_one_decodes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.wav" for number in range(50)]
    for path in paths:
        soundfile.write(path, sound("hiss", 1), RATE)
    spawn = multiprocessing.get_context("spawn")
    begin, decoded = spawn.Barrier(2), spawn.Queue()
    runs = [
        spawn.Process(
            target=decode_together, args=(paths, tmp_path / "cache", begin, decoded)
        )
        for _ in range(2)
    ]
    for run in runs:
        run.start()
    assert sorted(decoded.get(timeout=60) for _ in runs) == [0, len(paths)]
    for run in runs:
        run.join(60)
        assert run.exitcode == 0


def test_what_a_stopped_run_decoded_is_decoded_anew(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for path in paths:
        soundfile.write(path, sound("hiss", 1), RATE, subtype="FLOAT")

    def stop(_: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(manifest_of(paths), RATE, tmp_path / "cache", stop)
    _, store = open_store(manifest_of(paths), RATE, tmp_path / "cache")
    assert np.abs(store.read(paths[2])[0] - sound("hiss", 1)).max() < 1e-4


def test_a_second_run_finds_the_clips_decoded_unless_they_changed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sound("buzz", 1), RATE)
    decoded: list[int] = []

    def advance(name: str, done: int, _: int) -> None:
        decoded.append(done)

    open_store(manifest_of([path]), RATE, tmp_path / "cache", advance)
    open_store(manifest_of([path]), RATE, tmp_path / "cache", advance)
    assert decoded == [1]
    soundfile.write(path, sound("buzz", 2, seconds=0.5), RATE)
    _, store = open_store(manifest_of([path]), RATE, tmp_path / "cache", advance)
    assert decoded == [1, 1]
    assert store.read(path).shape[1] == pytest.approx(0.5 * RATE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.json", b"{"),
        ("index.json", b"[1]"),
        ("index.json", b'{"clips": [1], "left_out": []}'),
        ("index.json", b'{"clips": [{"path": "a"}], "left_out": []}'),
        ("index.json", b"\xff"),
        ("samples.i16", b"\x00\x01"),
        ("samples.i16", bytes(2 * RATE + 1)),
    ],
)
def test_damaged_decoded_recordings_are_made_anew(
    tmp_path: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sound("hiss", 1), RATE, subtype="FLOAT")
    open_store(manifest_of([path]), RATE, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / name).write_bytes(content)
    _, store = open_store(manifest_of([path]), RATE, tmp_path / "cache")
    assert np.abs(store.read(path)[0] - sound("hiss", 1)).max() < 1 / 32_000
    assert caplog.text.count("is damaged") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "another.wav"},
        {"channels": 0},
        {"channels": "x"},
        {"first": -5},
        {"samples": 1.5},
        {"scale": float("nan")},
        {"scale": "1"},
        {"sound_start": 50, "sound_stop": 3},
        {"sound_stop": 10**9},
        None,
    ],
)
def test_an_index_with_impossible_entries_is_made_anew(
    tmp_path: Path, changes: dict[str, object] | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sound("hiss", 1), RATE, subtype="FLOAT")
    manifest = manifest_of([path])
    _, store = open_store(manifest, RATE, tmp_path / "cache")
    expected = store.sound(path)
    (index,) = (tmp_path / "cache").glob("*/index.json")
    content = json.loads(index.read_text())
    index.unlink()
    if changes is None:
        index.mkdir()
    else:
        content["clips"][0] |= changes
        index.write_text(json.dumps(content))
    _, store = open_store(manifest, RATE, tmp_path / "cache")
    assert np.array_equal(store.sound(path), expected)
    assert caplog.text.count("is damaged") == 1
    assert index.is_file()
