"""The names of `training` for notebooks, and the code of docs/article.md."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import training
from monitor.errors import DatasetError
from tests.support import ROOT
from tests.support.recordings import (
    LABELS,
    RATE,
    SMALL_SPEC,
    sound,
    write_folders,
)
from training import (
    SoundDataset,
    assign_folds,
    build_network,
    fixed_length,
    learn_statistics,
    load_audio,
    log_mel_of,
    make_loader,
    mask,
    read_manifest,
    resample,
    time_shift,
    to_channels,
    training_settings,
)

ARTICLE = ROOT / "docs" / "article.md"
SMALL = training_settings({"spec": SMALL_SPEC.model_dump()}, origin="test")


@pytest.fixture(name="datasets")
def _datasets(tmp_path: Path) -> tuple[SoundDataset, SoundDataset]:
    """Training on two folds, and the test on the third."""
    manifest = read_manifest(
        write_folders(tmp_path / "data", groups=6), group_pattern=r"^([a-z]+\d+)_"
    )
    manifest = assign_folds(manifest, "group", 3, 0)
    options = {"settings": SMALL, "cache": tmp_path / "cache"}
    return (
        SoundDataset(manifest, [2, 3], train=True, **options),
        SoundDataset(manifest, [1], **options),
    )


def test_the_names_are_imported_when_they_are_used() -> None:
    code = "import sys, training; dir(training); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    for name in training.__all__:
        assert getattr(training, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        _ = training.Trainer


def test_any_recording_becomes_a_log_mel_of_two_channels(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "data", groups=1, slices=1)
    samples = load_audio(folder / "hiss" / "hiss0_0.wav")
    assert samples.shape == (1, round(0.8 * 44_100))
    window = fixed_length(to_channels(samples))
    assert window.shape == (2, 176_640)
    assert log_mel_of(window).shape == (2, 64, 344)


def test_an_unusable_recording_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(DatasetError, match=r"a\.wav: unreadable"):
        load_audio(tmp_path / "a.wav")


def test_resampling_keeps_the_pitch() -> None:
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * time, dtype=np.float32)[None]
    doubled = resample(tone, RATE, 2 * RATE)
    assert doubled.shape == (1, 2 * RATE)
    assert int(np.abs(np.fft.rfft(doubled[0])).argmax()) == 440


@pytest.mark.parametrize("seconds", [0.5, 6.0], ids=["padded", "cut"])
def test_a_sound_gets_one_length_at_a_drawn_place(seconds: float) -> None:
    samples = sound("hiss", 1, seconds)[None]
    middle = fixed_length(samples, 4 * RATE, RATE)
    drawn = [
        fixed_length(samples, 4 * RATE, RATE, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    assert {each.shape for each in (middle, *drawn)} == {(1, 4 * RATE)}
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_a_shift_and_a_mask_leave_the_log_mel_as_it_is() -> None:
    log_mel = np.random.default_rng(0).normal(-50, 9, (2, 64, 344)).astype(np.float32)
    before = log_mel.copy()
    shifted = time_shift(log_mel, np.random.default_rng(1))
    masked = mask(log_mel, np.random.default_rng(1))
    assert np.array_equal(log_mel, before)
    assert np.array_equal(np.sort(shifted, axis=-1), np.sort(log_mel, axis=-1))
    changed = masked != log_mel
    assert 0 < changed.mean() < 0.25
    assert np.array_equal(changed[0], changed[1])


def test_a_data_set_augments_for_training_only(
    datasets: tuple[SoundDataset, SoundDataset],
) -> None:
    train_set, test_set = datasets
    assert {clip.fold for clip in train_set.clips} == {2, 3}
    assert {clip.fold for clip in test_set.clips} == {1}
    for data, is_same in ((train_set, False), (test_set, True)):
        log_mel, label = data[0]
        assert log_mel.shape == (2, 16, 64)
        assert log_mel.dtype == torch.float32
        assert data.labels[label] in LABELS
        assert torch.equal(log_mel, data[0][0]), "the same in the same epoch"
        data.epoch = 1
        assert torch.equal(log_mel, data[0][0]) == is_same


def test_a_loader_gives_batches_in_an_order_that_is_drawn(
    datasets: tuple[SoundDataset, SoundDataset],
) -> None:
    train_set, test_set = datasets
    orders = []
    for seed in (0, 0, 1):
        loader = make_loader(
            train_set, 8, generator=torch.Generator().manual_seed(seed)
        )
        assert next(iter(loader))[0].shape == (8, 2, 16, 64)
        orders.append(torch.cat([classes for _, classes in loader]).tolist())
    assert orders[0] == orders[1] != orders[2]
    in_order = torch.cat([classes for _, classes in make_loader(test_set)]).tolist()
    assert in_order == [clip.label for clip in test_set.clips]


def test_ten_lines_train_a_network(
    datasets: tuple[SoundDataset, SoundDataset],
) -> None:
    train_set, test_set = datasets
    torch.manual_seed(0)
    network = build_network("article", SMALL_SPEC, len(LABELS))
    loader = make_loader(train_set, 8, generator=torch.Generator().manual_seed(0))
    learn_statistics(network, (log_mels.numpy() for log_mels, _ in loader))
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01)
    for epoch in range(12):
        train_set.epoch = epoch
        for log_mels, classes in loader:
            logits = network(log_mels).logits
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits, classes).backward()
            optimiser.step()
    log_mels, classes = next(iter(make_loader(test_set, len(test_set))))
    with torch.inference_mode():
        right = network.eval()(log_mels).logits.argmax(dim=1) == classes
    assert right.float().mean() > 0.8


def test_the_code_of_the_article_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folders(tmp_path / "my-sounds", groups=4, slices=1)
    monkeypatch.chdir(tmp_path)
    fence = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
    blocks = fence.findall(ARTICLE.read_text())
    code = "\n".join(blocks).replace("epochs = 30", "epochs = 1")
    code = code.replace("batch_size=16", "batch_size=4")
    exec(compile(code, str(ARTICLE), "exec"), {})
    printed = capsys.readouterr().out
    assert "(2, 64, 344)" in printed
    assert "torch.Size([4, 2, 64, 344]) torch.Size([4])" in printed
    assert "accuracy on fold 1: " in printed


def test_the_pictures_of_the_article_are_there() -> None:
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", ARTICLE.read_text())
    assert len(pictures) >= 9
    for picture in pictures:
        assert (ARTICLE.parent / picture).stat().st_size < 60_000, picture
