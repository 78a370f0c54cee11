"""Processes that torchrun has started learn together what one would learn alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from monitor.errors import UsageError
from monitor.model.trained import load_model
from tests.support import ROOT
from tests.support.band_training import BandBatches, settings_of, train_bands
from tests.support.recordings import LABELS, SMALL_SPEC, write_folders
from tests.support.two_processes import PLAIN
from training.checkpoint import RunFolder
from training.distributed import SINGLE_PROCESS, Distributed
from training.mixtures.dataset import ShardedSource

TIMEOUT = 300.0
"""Seconds; many processes import torch at once here."""


def torchrun(*words: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", "2", *words]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.mark.timeout(TIMEOUT + 60)
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """One of them is stopped on the way, and both stop at the same step.

    On CPUs each process normalises by its own share, so the losses are only similar.
    """
    command = torchrun("-m", "tests.support.two_processes", str(tmp_path), "5")
    done = subprocess.run(
        command, check=False, capture_output=True, timeout=TIMEOUT, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr.decode()
    weights = [load_file(tmp_path / f"rank{number}.safetensors") for number in (0, 1)]
    facts: list[dict[str, Any]] = [
        json.loads((tmp_path / f"rank{number}.json").read_text()) for number in (0, 1)
    ]
    for name, value in weights[0].items():
        if "running" not in name:
            assert value.equal(weights[1][name]), name
    assert all("after 5 of 24 steps" in fact["stopped"] for fact in facts)
    assert set(facts[0]["windows"]) == {8}, "each makes half of the 16"
    together = RunFolder(tmp_path / "run").metrics()
    assert [line["epoch"] for line in together] == [1, 2]

    train_bands(tmp_path / "alone", settings_of(**PLAIN))
    alone = RunFolder(tmp_path / "alone").metrics()
    assert together[0]["loss"] == pytest.approx(alone[0]["loss"], rel=0.3)
    assert together[-1]["loss"] < 0.5 * together[0]["loss"]
    assert together[-1]["accuracy"] > 0.8


@pytest.mark.timeout(TIMEOUT + 60)
def test_a_stop_during_the_validation_keeps_the_epoch(tmp_path: Path) -> None:
    command = torchrun("-m", "tests.support.two_processes", str(tmp_path), "0")
    done = subprocess.run(
        command, check=False, capture_output=True, timeout=TIMEOUT, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr.decode()
    for number in (0, 1):
        fact = json.loads((tmp_path / f"rank{number}.json").read_text())
        assert "after 12 of 24 steps" in fact["stopped"]


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    source = ShardedSource(BandBatches(), Distributed(rank=0, count=3))
    with pytest.raises(UsageError, match="16 windows cannot be shared evenly by 3"):
        next(source.batches(0, 1))


def test_a_single_process_waits_for_no_other() -> None:
    with SINGLE_PROCESS.main_process_first():
        SINGLE_PROCESS.barrier()
    assert SINGLE_PROCESS.broadcast("word") == "word"
    assert SINGLE_PROCESS.shard([1, 2, 3]) == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT + 60)
def test_ctrl_c_ends_all_processes_and_the_command_resumes(tmp_path: Path) -> None:
    write_folders(tmp_path / "data", groups=6)
    settings = {
        "spec": SMALL_SPEC.model_dump(),
        "folds": 3,
        "optimiser": {"epochs": 200, "batch_size": 8},
    }
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    train = [
        *("-m", "monitor", "train", "data", "--settings", "settings.yaml"),
        *("--cache", "cache", "--workers", "0", "--group-pattern", r"^([a-z]+\d+)_"),
        *("--validation-folds", "2"),
    ]
    metrics = tmp_path / "model-run" / "metrics.jsonl"
    with subprocess.Popen(
        torchrun(*train),
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as running:
        # Its checkpoint is written behind the figures of an epoch.
        wait_for(
            lambda: metrics.is_file() and metrics.read_text().count("\n") >= 2, running
        )
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=TIMEOUT)[0].decode()
    assert said.count("--resume continues from model-run") == 1, said
    assert not processes_in(tmp_path)
    epochs = len(metrics.read_text().splitlines())
    assert 1 <= epochs < 200

    # As many epochs as it takes to see that it goes on, and the end with its test.
    stored = tmp_path / "model-run" / "settings.json"
    stored.write_text(
        stored.read_text().replace('"patience": 0', f'"patience": {epochs}')
    )
    settings["patience"] = epochs
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    done = subprocess.run(
        torchrun(*train, "--resume"),
        cwd=tmp_path,
        env=ENVIRONMENT,
        check=False,
        capture_output=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().count("wrote model.safetensors") == 1
    assert load_model(tmp_path / "model.safetensors").card.labels == LABELS
    epochs_logged = [
        json.loads(line)["epoch"] for line in metrics.read_text().splitlines()
    ]
    assert epochs_logged == list(range(1, len(epochs_logged) + 1))


def wait_for(condition: Any, running: subprocess.Popen[bytes]) -> None:
    """Until it is true, or the process has ended."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert running.poll() is None, "the command has ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes_in(folder: Path) -> list[str]:
    """Commands of the processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder:
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # ended meanwhile, or not ours
    return found
