"""The classifier: scores that depend on nothing but the window."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from monitor.errors import UsageError
from monitor.model.classifier import Classifier
from monitor.spec import ModelSpec
from tests.support.models import seeded_model, seeded_windows


def test_says_what_the_model_is():
    classifier = Classifier(seeded_model(), "cpu")
    assert classifier.name == "seeded"
    assert classifier.labels == ("siren", "drilling", "gun_shot")
    assert classifier.spec == ModelSpec()
    assert classifier.total_stride == 16
    assert classifier.thresholds == {"siren": (0.7, 0.5)}
    assert classifier.compute_device == "cpu"


def test_scores_and_activity_are_the_networks_at_the_labels_temperatures():
    model = seeded_model()
    windows = seeded_windows(2)
    with torch.no_grad():
        logits, activity = model.network(windows)
    temperatures = torch.tensor([2.0, 0.5, 1.0])  # gun_shot has none of its own
    result = Classifier(model, "cpu").classify(windows)
    assert result.scores.dtype == result.activity.dtype == np.float32
    assert result.scores.shape == (2, 3)
    assert result.activity.shape == (2, 3, 22)
    expected = torch.sigmoid(logits / temperatures)
    assert np.abs(result.scores - expected.numpy()).max() < 1e-5
    expected = torch.sigmoid(activity / temperatures[:, None])
    assert np.abs(result.activity - expected.numpy()).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 2])
def test_a_window_scores_the_same_in_any_batch(channels: int):
    classifier = Classifier(seeded_model(), "cpu")
    windows = seeded_windows(7, channels)
    together = classifier.classify(windows)
    for index in range(7):
        alone = classifier.classify(windows[index : index + 1].clone())
        assert np.array_equal(alone.scores[0], together.scores[index])
        assert np.array_equal(alone.activity[0], together.activity[index])


def test_mono_counts_as_two_equal_channels():
    classifier = Classifier(seeded_model(), "cpu")
    mono = seeded_windows(2, channels=1)
    stereo = classifier.classify(mono.expand(-1, 2, -1, -1))
    assert np.abs(classifier.classify(mono).scores - stereo.scores).max() < 1e-5


def test_a_model_in_training_is_used_in_evaluation_mode_and_left_in_training():
    model = seeded_model()
    expected = Classifier(model, "cpu").classify(seeded_windows(2))
    model.network.train()
    result = Classifier(model, "cpu").classify(seeded_windows(2))
    assert np.array_equal(result.scores, expected.scores)
    assert model.network.training


def test_torch_keeps_to_the_threads_given():
    Classifier(seeded_model(), "cpu", threads=2)
    assert torch.get_num_threads() == 2
    Classifier(seeded_model(), "cpu", threads=1)
    assert torch.get_num_threads() == 1


class StandIn(TorchFunctionMode):
    """A GPU that is not there: what is sent to `cuda` stays, until the GPU breaks.

    torch itself then raises what it raises for a real one; no kernel of it runs.
    """

    breaks: Exception | None = None
    """Raised by whatever is sent to it from now on."""

    spoils = False
    """Whether what is sent to it becomes no number on the way."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        device = args[1] if function is torch.Tensor.to and len(args) > 1 else ""
        if not (isinstance(device, str | torch.device) and "cuda" in str(device)):
            return function(*args, **(kwargs or {}))
        if self.breaks is not None:
            raise self.breaks
        return args[0] * torch.nan if self.spoils else args[0].clone()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in for a GPU that torch believes in."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with StandIn() as stand_in:
        yield stand_in


@pytest.mark.parametrize("compute_device", ["auto", "cuda"])
class TestGpuThatFailsWhileItListens:
    """The CPU takes over with the right scores; that is said once, and for ever."""

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
            torch.AcceleratorError("CUDA error: the device is gone\nCUDA kernel ..."),
            RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        ],
    )
    def test_the_cpu_takes_over(
        self, error: Exception, compute_device: str, gpu: StandIn, caplog
    ):
        expected = Classifier(seeded_model(), "cpu").classify(seeded_windows(3))
        classifier = Classifier(seeded_model(), compute_device)
        before = classifier.classify(seeded_windows(3))
        assert classifier.compute_device == "cuda"
        assert np.abs(before.scores - expected.scores).max() < 1e-5
        gpu.breaks = error
        for _ in range(3):
            after = classifier.classify(seeded_windows(3))
            assert np.array_equal(after.scores, expected.scores)
            assert np.array_equal(after.activity, expected.activity)
        assert classifier.compute_device == "cpu"
        assert classifier.failed_compute_device == "cuda"
        first_line = str(error).splitlines()[0]
        said = f"the compute device cuda failed ({first_line}); going on with the cpu"
        assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
            ("ERROR", said)
        ]

    def test_it_does_not_come_back(self, compute_device: str, gpu: StandIn):
        classifier = Classifier(seeded_model(), compute_device)
        gpu.breaks = torch.OutOfMemoryError("CUDA out of memory.")
        classifier.classify(seeded_windows(1))
        gpu.breaks = None
        classifier.classify(seeded_windows(1))
        assert classifier.compute_device == "cpu"

    def test_numbers_that_are_none_are_a_failure_too(
        self, compute_device: str, gpu: StandIn
    ):
        expected = Classifier(seeded_model(), "cpu").classify(seeded_windows(2))
        classifier = Classifier(seeded_model(), compute_device)
        gpu.spoils = True
        after = classifier.classify(seeded_windows(2))
        assert np.array_equal(after.scores, expected.scores)
        assert classifier.compute_device == "cpu"


def test_what_the_cpu_cannot_compute_is_not_hidden():
    classifier = Classifier(seeded_model(), "cpu")
    with pytest.raises(RuntimeError):
        classifier.classify(torch.zeros(1, 2, 3, 4))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
class TestGpuThatNeverWorked:
    """It is absent, or torch believes in it and fails when it is used."""

    @pytest.fixture(params=["absent", "broken"], autouse=True)
    def state(self, request, monkeypatch: pytest.MonkeyPatch) -> str:
        if request.param == "broken":
            monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        return request.param

    def test_auto_goes_on_with_the_cpu_and_says_what_broke(self, state: str, caplog):
        classifier = Classifier(seeded_model(), "auto")
        classifier.classify(seeded_windows(1))
        assert classifier.compute_device == "cpu"
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == (state == "broken")
        assert all("cuda does not work (" in each for each in said)
        assert all("\n" not in each for each in said)

    def test_an_explicit_one_is_a_usage_error(self, state: str):
        rule = "is not there" if state == "absent" else "does not work"
        with pytest.raises(UsageError, match=rf"compute_device: cuda {rule}.* cpu"):
            Classifier(seeded_model(), "cuda")

    def test_who_wants_to_listen_in_any_case_does(self, state: str, caplog):
        classifier = Classifier(seeded_model(), "cuda", spares_gpu=True)
        classifier.classify(seeded_windows(1))
        assert classifier.compute_device == "cpu"
        assert classifier.failed_compute_device == "cuda"
        (record,) = caplog.records
        assert record.getMessage().startswith("the compute device cuda ")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_scores_of_the_cpu():
    windows = seeded_windows(5)
    here = Classifier(seeded_model(), "cpu").classify(windows)
    there = Classifier(seeded_model(), "cuda").classify(windows)
    assert np.abs(here.scores - there.scores).max() < 2e-3  # TF32
