"""Training costs no more than a plain loop, and little beside its epochs."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from monitor.model.networks import build_network
from tests.support.recordings import LABELS, RATE, sound
from training.checkpoint import RunFolder
from training.data.decoded import ignore
from training.losses import Student
from training.mixtures.dataset import MixtureSource
from training.mixtures.material import DataPaths, Material, gather
from training.progress import Display
from training.recipes import training_settings
from training.train import train

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

CLIPS, SECONDS, BATCH, TRIES = 16, 4.0, 16, 5
MOST_FIXED = 3.3
"""Processor time of a training of one epoch, as a multiple of the import of torch."""
MOST_SHARE = 0.4
"""Share of a small training that its start, test and report may take beside that."""


@pytest.fixture(name="material", scope="module")
def _material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Three labels with 16 clips of four seconds each."""
    folder = tmp_path_factory.mktemp("clips")
    for label in LABELS:
        (folder / "data" / label).mkdir(parents=True)
        for number in range(CLIPS):
            wave = sound(label, number, SECONDS)
            soundfile.write(folder / "data" / label / f"{number}.wav", wave, RATE)
    return gather(DataPaths(folder / "data", folder / "cache"), SETTINGS, ignore)


SETTINGS = training_settings({"optimiser": {"epochs": 1}}, origin="test")


class Plain(Dataset[tuple[Tensor, int]]):
    """The article's data set, but for its reading of files: clips lie in memory."""

    def __init__(self, material: Material, channels: int) -> None:
        from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

        clips = material.manifest.clips
        self._labels = [clip.label or 0 for clip in clips]
        sounds = [torch.from_numpy(material.store.read(clip.path)) for clip in clips]
        self._sounds = [sound.expand(channels, -1).clone() for sound in sounds]
        self._mel = MelSpectrogram(44_100, n_fft=1024, hop_length=None, n_mels=64)
        self._decibels = AmplitudeToDB(top_db=80)

    def __len__(self) -> int:
        return len(self._sounds)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from torchaudio.functional import mask_along_axis

        sound = self._sounds[index]
        shifted = sound.roll(int(torch.rand(1) * 0.4 * sound.shape[1]), dims=1)
        features = self._decibels(self._mel(shifted))
        for axis, share in ((1, 0.1), (2, 0.1)):
            size = int(share * features.shape[axis])
            features = mask_along_axis(features, size, float(features.mean()), axis)
        return features, self._labels[index]


def plain_epoch(material: Material, channels: int) -> Callable[[], None]:
    """The article's loop over its data set, with its network."""
    loader = DataLoader(Plain(material, channels), BATCH, shuffle=True)
    network = build_network("article", SETTINGS.spec, len(LABELS))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.001)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=0.001, total_steps=100 * len(loader)
    )
    criterion = nn.CrossEntropyLoss()

    def epoch() -> None:
        network.train()
        for features, labels in loader:
            inputs = (features - features.mean()) / features.std()
            optimiser.zero_grad()
            loss = criterion(network(inputs.expand(-1, 2, -1, -1)).logits, labels)
            loss.backward()
            optimiser.step()
            schedule.step()
            loss.item()

    return epoch


def own_epoch(material: Material, folder: Path) -> Callable[[], None]:
    """One epoch of `train`, checkpoint included, with batches of the same size."""
    maker = material.maker(range(len(material.manifest.clips)), (), SETTINGS)
    source = MixtureSource(maker, BATCH, 0, workers=0)
    source.batch_size, source.steps_per_epoch = BATCH, len(maker.clips) // BATCH
    numbers = iter(range(1000))

    def epoch() -> None:
        student = Student(build_network("article", SETTINGS.spec, len(LABELS)))
        train(
            student,
            source,
            LABELS,
            SETTINGS,
            RunFolder(folder / str(next(numbers))),
            Display(Console(quiet=True)),
            threading.Event(),
        )

    return epoch


def spent(work: Callable[[], None]) -> float:
    """Processor time of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize("channels", [1, 2], ids=["mono", "stereo"])
def test_an_epoch_costs_no_more_than_that_of_a_plain_loop(
    material: Material, tmp_path: Path, channels: int
) -> None:
    """The article's loop is stereo; ours computes the features of mono clips once."""
    torch.set_num_threads(1)
    plain, own = plain_epoch(material, channels), own_epoch(material, tmp_path)
    for warm_up in (plain, own):
        warm_up()
    figures = [(spent(own), spent(plain)) for _ in range(TRIES)]
    best = [min(column) for column in zip(*figures, strict=True)]
    assert best[0] < best[1], figures


def spent_by_programs(*words: str) -> float:
    """Processor time of a program of Python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *words], env=environment, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_small_training_spends_its_time_on_its_epochs(
    material: Material, tmp_path: Path
) -> None:
    """Three labels with 16 clips each, with the defaults, the report included."""
    cache = tmp_path / "cache"

    def training(name: str, epochs: int) -> float:
        data = material.manifest.clips[0].path.parents[1]
        words = ["-m", "monitor", "train", str(data), "--epochs", str(epochs)]
        words += ["--preset", "article"]
        words += ["--out", str(tmp_path / f"{name}.safetensors")]
        return spent_by_programs(*words, "--cache", str(cache))

    figures = [
        (
            spent_by_programs("-c", "import torch"),
            training(f"short{number}", 1),
            training(f"whole{number}", 30),
        )
        for number in range(3)
    ]
    torch_alone, short, whole = (min(column) for column in zip(*figures, strict=True))
    assert short < MOST_FIXED * torch_alone, figures
    assert short - torch_alone < MOST_SHARE * whole, figures
