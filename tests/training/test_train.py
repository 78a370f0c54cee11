"""Training learns, and an interrupted run ends where an uninterrupted one does."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monitor.errors import UsageError
from monitor.model.networks.build import Network
from tests.support import ROOT
from tests.support.bands import Bands, fresh, settings_of
from training.checkpoint import InterruptedTrainingError, RunFolder
from training.progress import Checked, EpochPicture, EpochReport
from training.train import fit


class Silent:
    """Watches, and may stop after some steps."""

    def __init__(self, stop: threading.Event, after: int = -1) -> None:
        self.reports: list[EpochReport] = []
        self.pictures: list[EpochPicture] = []
        self._stop = stop
        self._after = after

    def step(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        if step == self._after:
            self._stop.set()

    def epoch(self, report: EpochReport, picture: EpochPicture) -> None:
        self.reports.append(report)
        self.pictures.append(picture)

    def go_on(self, epoch: int) -> None:
        pass


def train(
    folder: Path, after: int = -1, **changes: object
) -> tuple[Network, list[EpochReport]]:
    stop = threading.Event()
    watcher = Silent(stop, after)
    network = fit(
        fresh(), Bands(), settings_of(**changes), RunFolder(folder), watcher, stop
    )
    return network, watcher.reports


def same(one: Network, other: Network) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def test_a_network_learns_to_tell_bands_apart(tmp_path: Path) -> None:
    network, reports = train(tmp_path)
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert reports[-1].accuracy > 0.9
    batch = next(Bands().batches(999, 1000))
    with torch.no_grad():
        windows = torch.from_numpy(batch.log_mel).expand(-1, 2, -1, -1)
        chosen = network(windows).logits.argmax(dim=1).numpy()
    assert (chosen == batch.activity.max(axis=2).argmax(axis=1)).mean() > 0.9


@pytest.mark.parametrize("after", [1, 12, 17])
def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, after: int) -> None:
    whole, _ = train(tmp_path / "whole", optimiser={"epochs": 2})
    with pytest.raises(InterruptedTrainingError, match="--resume"):
        train(tmp_path / "torn", after=after, optimiser={"epochs": 2})
    resumed, _ = train(tmp_path / "torn", optimiser={"epochs": 2})
    assert same(whole, resumed)
    metrics = [RunFolder(tmp_path / name).metrics() for name in ("whole", "torn")]
    assert metrics[0] == metrics[1]


def test_power_loss_costs_what_came_after_the_last_epoch(tmp_path: Path) -> None:
    """Only the checkpoint of the epoch is there, and metrics that went on."""
    whole, _ = train(tmp_path / "whole", optimiser={"epochs": 2})
    with pytest.raises(InterruptedTrainingError):
        train(tmp_path / "torn", after=12, optimiser={"epochs": 2})
    folder = RunFolder(tmp_path / "torn")
    folder.log({"epoch": 2, "loss": 0.0})
    resumed, _ = train(tmp_path / "torn", optimiser={"epochs": 2})
    assert same(whole, resumed)
    assert [line["epoch"] for line in folder.metrics()] == [1, 2]
    assert folder.metrics()[1]["loss"] > 0


def test_another_seed_draws_other_augmentations(tmp_path: Path) -> None:
    first, _ = train(tmp_path / "a", optimiser={"epochs": 1})
    other, _ = train(tmp_path / "b", optimiser={"epochs": 1}, seed=1)
    assert not same(first, other)


def test_validation_chooses_the_best_epoch(tmp_path: Path) -> None:
    stop, seen = threading.Event(), []
    figures = iter([0.2, 0.9, 0.3, 0.3])

    def validate(network: Network) -> Checked:
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return Checked({"accuracy": next(figures)}, [])

    network = fit(
        fresh(),
        Bands(),
        settings_of(),
        RunFolder(tmp_path),
        Silent(stop),
        stop,
        validate,
    )
    for name, value in network.state_dict().items():
        assert torch.equal(value, seen[1][name])


def test_patience_ends_a_run_that_does_not_improve(tmp_path: Path) -> None:
    stop = threading.Event()
    watcher = Silent(stop)
    fit(
        fresh(),
        Bands(),
        settings_of(patience=1),
        RunFolder(tmp_path),
        watcher,
        stop,
        lambda _: Checked({"accuracy": 0.5}, []),
    )
    assert len(watcher.reports) == 2


def test_a_run_folder_is_not_used_for_another_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(settings_of(), resume=False)
    folder.begin(settings_of(), resume=True)
    with pytest.raises(UsageError, match="--resume"):
        folder.begin(settings_of(), resume=False)
    with pytest.raises(UsageError, match="seed was 0 when the run began and is 3"):
        folder.begin(settings_of(seed=3), resume=True)


@pytest.mark.timeout(600)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(
    tmp_path: Path,
) -> None:
    """By SIGKILL, at random moments of a real process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.training_drill", str(tmp_path)],
        check=True,
        capture_output=True,
        timeout=590,
        cwd=ROOT,
    )
    assert int(done.stdout) > 0
    whole, torn = (load_file(tmp_path / f"{n}.safetensors") for n in ("whole", "torn"))
    for name, value in whole.items():
        assert value.equal(torn[name]), name
    metrics = [RunFolder(tmp_path / name).metrics() for name in ("whole", "torn")]
    assert metrics[0] == metrics[1]


def test_what_is_kept_is_the_average_of_the_weights(tmp_path: Path) -> None:
    """It has no memory with a decay of 0, and is the last weights then."""
    train(tmp_path / "none", optimiser={"epochs": 1, "ema_decay": 0.0})
    train(tmp_path / "long", optimiser={"epochs": 1, "ema_decay": 0.99})
    for name, equal in (("none", True), ("long", False)):
        checkpoint = RunFolder(tmp_path / name).read_checkpoint()
        assert checkpoint is not None
        own, mean = checkpoint.part("student"), checkpoint.part("average")
        weights = [key for key in own if key.endswith("weight")]
        assert all(own[key].equal(mean[key]) == equal for key in weights), name


def test_a_network_learns_in_16_bits(tmp_path: Path) -> None:
    """On a CPU for once; the weights have 32 bits all the same."""
    half = {"epochs": 2, "precision": "bfloat16"}
    network, reports = train(tmp_path / "half", optimiser=half)
    _, whole = train(tmp_path / "whole", optimiser={"epochs": 2})
    assert reports[-1].loss == pytest.approx(whole[-1].loss, rel=0.2)
    assert reports[-1].loss != whole[-1].loss
    assert {value.dtype for value in network.parameters()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="mixed precision needs CUDA")
def test_a_network_learns_on_a_gpu(tmp_path: Path) -> None:
    stop = threading.Event()
    watcher = Silent(stop)
    place = RunFolder(tmp_path)
    fit(fresh(), Bands(), settings_of(), place, watcher, stop, device="cuda")
    assert watcher.reports[-1].loss < 0.5 * watcher.reports[0].loss


def test_the_last_line_of_metrics_may_be_torn(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log({"epoch": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "lo')
    assert folder.metrics() == [{"epoch": 1}]
    folder.forget_after(1)
    folder.log({"epoch": 2})
    assert folder.metrics() == [{"epoch": 1}, {"epoch": 2}]


def test_a_run_of_an_older_program_can_be_resumed(tmp_path: Path) -> None:
    """Settings that it did not know have their defaults."""
    folder = RunFolder(tmp_path)
    folder.begin(settings_of(), resume=False)
    stored = tmp_path / "settings.json"
    facts = json.loads(stored.read_text())
    del facts["optimiser"]["precision"], facts["patience"]
    stored.write_text(json.dumps(facts))
    folder.begin(settings_of(), resume=True)
    with pytest.raises(UsageError, match="patience was 0"):
        folder.begin(settings_of(patience=2), resume=True)
