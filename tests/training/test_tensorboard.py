"""TensorBoard, where it is asked for, is shown every epoch once, with its pictures."""

import struct
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monitor.model.networks import Network
from tests.support.band_training import settings_of, train_bands
from training.checkpoint import Checkpoint, InterruptedTrainingError, RunFolder
from training.progress import ValidationResult

EPOCHS = 3
SETTINGS = settings_of(optimiser={"epochs": EPOCHS})


class FailingFolder(RunFolder):
    """A run folder without its next checkpoint, as after a power failure."""

    def __init__(self, path: Path, fails_in: int) -> None:
        super().__init__(path)
        self._fails_in = fails_in

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        if self.metrics()[-1]["epoch"] == self._fails_in:
            raise MemoryError
        super().write_checkpoint(checkpoint)


def validate(_: Network) -> ValidationResult:
    return ValidationResult({"accuracy": 0.25}, [[3, 1, 0], [0, 2, 0], [0, 0, 5]])


def train(
    folder: Path, validates: bool = False, after: int = -1, fails_in: int = -1
) -> None:
    train_bands(
        FailingFolder(folder, fails_in),
        SETTINGS,
        after=after,
        validate=validate if validates else None,
        tensorboard=True,
    )


def shown(folder: Path) -> Any:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    return events.Reload()


def test_no_events_are_written_unless_they_are_asked_for(tmp_path: Path) -> None:
    train_bands(tmp_path, SETTINGS)
    assert not list(tmp_path.glob("events*"))


def test_every_epoch_is_shown_as_it_is_in_the_metrics(tmp_path: Path) -> None:
    train(tmp_path)
    events, lines = shown(tmp_path), RunFolder(tmp_path).metrics()
    for tag, key in (
        ("training/loss", "loss"),
        ("training/accuracy", "accuracy"),
        ("training/learning_rate", "learning_rate"),
    ):
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        wanted = [line[key] for line in lines]
        assert [scalar.value for scalar in scalars] == pytest.approx(wanted)
    assert events.Scalars("loss/scores")[0].value > 0
    for tag in ("training/confusion", "training/windows with masks"):
        images = events.Images(tag)
        assert [image.step for image in images] == [1, 2, 3]
        for image in images:
            data = image.encoded_image_string
            assert data.startswith(b"\x89PNG")
            width, height = struct.unpack(">II", data[16:24])
            assert min(width, height) > 60


def test_what_validation_says_is_shown(tmp_path: Path) -> None:
    train(tmp_path, validates=True)
    events = shown(tmp_path)
    values = [scalar.value for scalar in events.Scalars("validation/accuracy")]
    assert values == [0.25] * EPOCHS
    assert len(events.Images("validation/confusion")) == EPOCHS


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        ({"after": 17}, InterruptedTrainingError),
        ({"after": 24}, InterruptedTrainingError),
        # The events of the second epoch are written, its checkpoint is not.
        ({"fails_in": 2}, MemoryError),
        ({"fails_in": 1}, MemoryError),
    ],
    ids=["within an epoch", "between two", "power failure", "in the first"],
)
def test_a_resumed_run_shows_no_epoch_twice(
    tmp_path: Path, ends: dict[str, int], error: type[BaseException]
) -> None:
    with pytest.raises(error):
        train(tmp_path, **ends)
    train(tmp_path)
    train(tmp_path / "whole")
    events, whole = shown(tmp_path), shown(tmp_path / "whole")
    for tag in ("training/loss", "training/accuracy", "loss/scores"):
        shown_values = [(scalar.step, scalar.value) for scalar in events.Scalars(tag)]
        assert shown_values == [
            (scalar.step, scalar.value) for scalar in whole.Scalars(tag)
        ]
    for tag in ("training/confusion", "training/windows with masks"):
        pictures = [image.encoded_image_string for image in events.Images(tag)]
        wanted = [image.encoded_image_string for image in whole.Images(tag)]
        assert pictures == wanted
