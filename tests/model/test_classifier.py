"""The classifier: scores that depend on nothing but the window."""

import logging

import numpy as np
import pytest
import torch

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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_a_compute_device_that_is_absent_is_a_usage_error():
    with pytest.raises(UsageError, match=r"compute_device: cuda is not there.* cpu"):
        Classifier(seeded_model(), "cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
class TestGpuThatDoesNotWork:
    """torch believes in a GPU, and fails when it is used."""

    @pytest.fixture(autouse=True)
    def _broken_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def test_auto_goes_on_with_the_cpu_and_says_so_once(self, caplog):
        with caplog.at_level(logging.WARNING):
            classifier = Classifier(seeded_model(), "auto")
            classifier.classify(seeded_windows(1))
        (record,) = caplog.records
        assert "cuda failed (" in record.getMessage()
        assert "\n" not in record.getMessage()
        assert classifier.compute_device == "cpu"

    def test_an_explicit_one_is_a_usage_error(self):
        with pytest.raises(UsageError, match="cuda does not work"):
            Classifier(seeded_model(), "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_scores_of_the_cpu():
    windows = seeded_windows(5)
    here = Classifier(seeded_model(), "cpu").classify(windows)
    there = Classifier(seeded_model(), "cuda").classify(windows)
    assert np.abs(here.scores - there.scores).max() < 2e-3  # TF32
