"""The run folder: settings, metrics and checkpoints, from which training continues."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from monitor.errors import SoundMonitorError, UsageError
from training.config import TrainingSettings
from training.files import replace_file, replace_text

_SETTINGS, _DATA = "settings.json", "data.json"
WeightsName = Literal["best", "network"]


class InterruptedTrainingError(SoundMonitorError):
    """Training was stopped; its state is on disk, and `--resume` continues it."""

    exit_code = 130


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

    def check(self, settings: TrainingSettings, resume: bool) -> None:
        """Check that a run can begin here, or that it had the same settings.

        Raises:
            UsageError: There is a run already, it had other settings, or the folder
                cannot be written.
        """
        if not self.writes:
            return
        place = self.path
        while not place.exists():
            place = place.parent
        if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise UsageError(f"--run: {self.path}: the folder {place} is not writable")
        file = self.path / _SETTINGS
        if not file.is_file():
            return
        if not resume:
            raise UsageError(
                f"{self.path} holds a run already; continue it with --resume, or "
                "choose another folder with --run"
            )
        before = _completed(_read_json(file))
        # Heads are fitted anew where their settings differ, and leave the rest.
        for key, value in settings.model_dump(mode="json", exclude={"heads"}).items():
            if before.get(key) != value:
                raise UsageError(
                    f"{file}: {key} was {before.get(key)!r} when the run began and is "
                    f"{value!r} now; resume with the same settings"
                )

    def begin(self, settings: TrainingSettings, data: Mapping[str, Any]) -> None:
        """Write settings and data of a new run, or check the data of a resumed one.

        Raises:
            UsageError: The run had other recordings.
        """
        if not self.writes:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / _DATA
        before = _read_json(file) if file.is_file() else data
        for key, value in data.items():
            if before.get(key) != value:
                was = (
                    ""
                    if key in ("digest", "pretrained")
                    else f" ({before.get(key)}, now {value})"
                )
                raise UsageError(
                    f"{file}: the recordings, or the model to begin with, are others "
                    f"than when the run began: {key}{was}; resume with the same, or "
                    "begin another run with --run"
                )
        replace_text(file, json.dumps(data))
        if not (self.path / _SETTINGS).is_file():
            replace_text(self.path / _SETTINGS, settings.model_dump_json(indent=2))

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

    def write_head(self, weights: Mapping[str, Tensor], facts: dict[str, Any]) -> None:
        """Write the weights of a head, and what they depend on."""
        self._save("head", Checkpoint(dict(weights), facts))

    def read_head(self, facts: dict[str, Any]) -> dict[str, Tensor] | None:
        """Return the weights of a head, if they were written with the same facts."""
        found = self._load("head")
        return None if found is None or found.facts != facts else found.tensors

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
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise UsageError(f"{path}: is damaged ({error}); remove it") from None

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
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["facts"])
            return Checkpoint(load_file(path), facts)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path}: is damaged ({error}); remove it, and --resume begins this "
                "network anew"
            ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: is damaged ({error}); choose another folder with --run"
        ) from None


def _completed(stored: dict[str, Any]) -> dict[str, Any]:
    """Stored settings; those that an older program did not have get their defaults."""
    defaults = TrainingSettings().model_dump(mode="json")
    return {
        key: {**defaults.get(key, {}), **value} if isinstance(value, dict) else value
        for key, value in {**defaults, **stored}.items()
    }
