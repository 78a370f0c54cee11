"""Training learns, and an interrupted run ends where an uninterrupted one does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from monitor.errors import UsageError
from monitor.model.networks import Network
from tests.support import ROOT
from tests.support.band_training import (
    BandBatches,
    fresh,
    settings_of,
    train_bands,
)
from training.checkpoint import InterruptedTrainingError, RunFolder
from training.progress import ValidationResult
from training.train import build_optimiser, build_schedule

CONFUSION = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def train(
    folder: Path, after: int = -1, **changes: object
) -> tuple[Network, list[dict[str, Any]]]:
    network = train_bands(folder, settings_of(**changes), after=after)
    return network, RunFolder(folder).metrics()


def same(one: Network, other: Network) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def test_a_network_learns_to_distinguish_bands(tmp_path: Path) -> None:
    network, epochs = train(tmp_path)
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    assert epochs[-1]["accuracy"] > 0.9
    batch = next(BandBatches().batches(999, 1000))
    with torch.no_grad():
        windows = torch.from_numpy(batch.log_mel).expand(-1, 2, -1, -1)
        chosen = network(windows).logits.argmax(dim=1).numpy()
    assert (chosen == batch.activity.max(axis=2).argmax(axis=1)).mean() > 0.9


@pytest.mark.parametrize("after", [1, 12, 17])
def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, after: int) -> None:
    whole, _ = train(tmp_path / "whole", optimiser={"epochs": 2})
    with pytest.raises(InterruptedTrainingError, match="--resume") as caught:
        train(tmp_path / "torn", after=after, optimiser={"epochs": 2})
    assert caught.value.exit_code == 130
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
    seen = []
    figures = iter([0.2, 0.9, 0.3, 0.3])

    def validate(network: Network) -> ValidationResult:
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return ValidationResult({"accuracy": next(figures)}, CONFUSION)

    network = train_bands(tmp_path, settings_of(), validate=validate)
    for name, value in network.state_dict().items():
        assert torch.equal(value, seen[1][name])


def test_patience_ends_a_run_that_does_not_improve(tmp_path: Path) -> None:
    train_bands(
        tmp_path,
        settings_of(patience=1),
        validate=lambda _: ValidationResult({"accuracy": 0.5}, CONFUSION),
    )
    assert len(RunFolder(tmp_path).metrics()) == 2


def test_a_run_folder_is_not_used_for_another_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.check(settings_of(), resume=False)
    folder.begin(settings_of(), {})
    folder.check(settings_of(), resume=True)
    with pytest.raises(UsageError, match="--resume"):
        folder.check(settings_of(), resume=False)
    with pytest.raises(UsageError, match="seed was 0 when the run began and is 3"):
        folder.check(settings_of(seed=3), resume=True)


def test_a_run_is_not_resumed_with_other_recordings(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(settings_of(), {"clips": 3, "digest": "a"})
    folder.begin(settings_of(), {"clips": 3, "digest": "a"})
    with pytest.raises(UsageError, match=r"others than .* clips \(3, now 4\)"):
        folder.begin(settings_of(), {"clips": 4, "digest": "b"})
    with pytest.raises(UsageError, match=r"others than .* digest;"):
        folder.begin(settings_of(), {"clips": 3, "digest": "b"})


def test_a_run_of_which_the_data_is_not_known_can_be_resumed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(settings_of(), {})
    (tmp_path / "data.json").unlink()
    folder.begin(settings_of(), {"clips": 3, "digest": "a"})


def test_damaged_files_of_a_run_are_one_sentence(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(settings_of(), {})
    for name in ("settings.json", "data.json", "metrics.jsonl"):
        (tmp_path / name).write_text("{\n")
    for name in ("checkpoint", "best"):
        (tmp_path / f"{name}.safetensors").write_bytes(bytes(100))
    for read in (
        lambda: folder.check(settings_of(), resume=True),
        lambda: folder.begin(settings_of(), {}),
        folder.metrics,
        folder.read_checkpoint,
        lambda: folder.read_weights("best"),
    ):
        with pytest.raises(UsageError, match="is damaged"):
            read()


def test_a_run_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--run: .*file is not writable"):
        RunFolder(tmp_path / "file" / "run").check(settings_of(), resume=False)


@pytest.mark.slow
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


@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
@pytest.mark.parametrize("steps", [1, 2, 8, 9, 100])
def test_the_learning_rate_rises_falls_and_ends_near_nothing(
    share: float, steps: int
) -> None:
    settings = settings_of(
        optimiser={"learning_rate": 0.02, "head_rate_factor": 3, "warm_up_share": share}
    )
    optimiser = build_optimiser(fresh(), settings)
    schedule = build_schedule(optimiser, settings, steps)
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        schedule.step()
    assert rates[0] == pytest.approx([0.002, 0.006])
    assert all(head == pytest.approx(3 * rate) for rate, head in rates)
    assert max(rates)[0] <= 0.02
    if steps >= 8:
        assert rates[-1][0] == pytest.approx(0.02 / 1000)
        peak = rates.index(max(rates))
        assert peak == pytest.approx(max(share * steps, 2.5) - 1, abs=1)


def test_a_checkpoint_holds_the_optimiser_by_the_names_of_torch(tmp_path: Path) -> None:
    """Runs of earlier and later programs continue from it."""
    train(tmp_path, optimiser={"epochs": 1})
    checkpoint = RunFolder(tmp_path).read_checkpoint()
    assert checkpoint is not None
    slots = ("step", "exp_avg", "exp_avg_sq")
    count = len(list(fresh().parameters()))
    names = {f"{number}.{slot}" for number in range(count) for slot in slots}
    assert set(checkpoint.part("optimiser")) == names
    groups, schedule = checkpoint.facts["groups"], checkpoint.facts["schedule"]
    assert [n for group in groups for n in group["params"]] == [*range(count)]
    assert schedule["last_epoch"] == checkpoint.facts["state"]["step"] == 12


def test_the_result_is_the_average_of_the_weights(tmp_path: Path) -> None:
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
    network, epochs = train(tmp_path / "half", optimiser=half)
    _, whole = train(tmp_path / "whole", optimiser={"epochs": 2})
    losses = [each[-1]["loss"] for each in (epochs, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)
    assert losses[0] != losses[1]
    assert {value.dtype for value in network.parameters()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="mixed precision needs CUDA")
def test_a_network_learns_on_a_gpu(tmp_path: Path) -> None:
    train_bands(tmp_path, settings_of(), device="cuda")
    epochs = RunFolder(tmp_path).metrics()
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]


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
    folder.begin(settings_of(), {})
    stored = tmp_path / "settings.json"
    facts = json.loads(stored.read_text())
    del facts["optimiser"]["precision"], facts["patience"]
    stored.write_text(json.dumps(facts))
    folder.check(settings_of(), resume=True)
    with pytest.raises(UsageError, match="patience was 0"):
        folder.check(settings_of(patience=2), resume=True)
