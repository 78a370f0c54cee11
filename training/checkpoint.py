"""The run folder: settings, metrics and checkpoints, from which training continues."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from monitor.errors import SoundMonitorError, UsageError
from training.config import TrainingSettings
from training.files import replace_file, replace_text

WeightsName = Literal["best", "network"]


class InterruptedTrainingError(SoundMonitorError):
    """Training was stopped; its state is on disk, and `--resume` continues it."""


class Checkpoint:
    """Tensors by name, and facts that JSON can hold."""

    def __init__(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.tensors = tensors
        self.facts = facts

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name begins with `prefix` and a dot, without it."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }


class RunFolder:
    """The folder of one training run; created when something is written."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes

    def part(self, name: str) -> "RunFolder":
        """The folder of one of several networks."""
        return RunFolder(self.path / name, self.writes)

    def begin(self, settings: TrainingSettings, resume: bool) -> None:
        """Write the settings of a new run, or check that a resumed one has the same.

        Raises:
            UsageError: There is a run already, or it had other settings.
        """
        file = self.path / "settings.json"
        text = settings.model_dump_json(indent=2)
        if not self.writes:
            return
        if not file.is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            replace_text(file, text)
            return
        if not resume:
            raise UsageError(
                f"{self.path} holds a run already; continue it with --resume, or "
                "choose another folder with --run"
            )
        before = _completed(json.loads(file.read_text()))
        for key, value in json.loads(text).items():
            if before.get(key) != value:
                raise UsageError(
                    f"{file}: {key} was {before.get(key)!r} when the run began and is "
                    f"{value!r} now; resume with the same settings"
                )

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; a crash leaves the old or the new one, whole."""
        self._save("checkpoint", checkpoint)

    def read_checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint, if there is one."""
        return self._load("checkpoint")

    def write_weights(self, name: WeightsName, weights: Mapping[str, Tensor]) -> None:
        """Write the weights of the best epoch, or of the network after its training."""
        self._save(name, Checkpoint(dict(weights), {}))

    def read_weights(self, name: WeightsName) -> dict[str, Tensor] | None:
        """Return weights, if they were written."""
        found = self._load(name)
        return None if found is None else found.tensors

    def log(self, facts: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        if not self.writes:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(facts) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl, without one that a power failure has truncated."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        whole, _, _ = path.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def forget_after(self, epoch: int) -> None:
        """Drop metrics of epochs after `epoch`: they are trained again."""
        if not (self.writes and (self.path / "metrics.jsonl").is_file()):
            return
        kept = [line for line in self.metrics() if line.get("epoch", 0) <= epoch]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        replace_text(self.path / "metrics.jsonl", text)

    def _save(self, name: str, checkpoint: Checkpoint) -> None:
        if not self.writes:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / f"{name}.safetensors"
        beside = path.with_suffix(".partial")
        tensors = {
            key: tensor.detach().cpu().contiguous().clone()
            for key, tensor in checkpoint.tensors.items()
        }
        save_file(tensors, beside, {"facts": json.dumps(checkpoint.facts)})
        replace_file(beside, path)

    def _load(self, name: str) -> Checkpoint | None:
        path = self.path / f"{name}.safetensors"
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
        return Checkpoint(load_file(path), facts)


def _completed(stored: dict[str, Any]) -> dict[str, Any]:
    """Stored settings; those that an older program did not have get their defaults."""
    defaults = TrainingSettings().model_dump(mode="json")
    return {
        key: {**defaults.get(key, {}), **value} if isinstance(value, dict) else value
        for key, value in {**defaults, **stored}.items()
    }
