"""The classifier: scores depend on the window alone, and a failed GPU is replaced."""

import gc
import importlib.util
import weakref
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch.overrides import TorchFunctionMode

from monitor.errors import ConfigError, ModelFileError, UsageError
from monitor.model import classifier
from monitor.model.classifier import Classifier, active_spans, span_samples
from monitor.model.engines import WindowHistory, WindowPlace
from monitor.model.thresholds import Thresholds
from monitor.model.trained import to_stored
from monitor.spec import ModelSpec
from tests.support.models import (
    WITH_BACKGROUND,
    overlapping_windows,
    seeded_model,
    seeded_windows,
    stored_model,
)


def test_it_has_the_properties_of_the_model():
    classifier = Classifier(stored_model(), "cpu")
    assert classifier.name == "seeded"
    assert classifier.labels == ("siren", "drilling", "gun_shot")
    assert classifier.spec == ModelSpec()
    assert classifier.total_stride == 16
    assert classifier.thresholds == {"siren": Thresholds(onset=0.7, offset=0.5)}
    assert classifier.compute_device == "cpu"


def test_scores_and_activity_are_the_networks_at_the_labels_temperatures():
    model = seeded_model()
    windows = seeded_windows(2)
    with torch.no_grad():
        logits, activity = model.network(torch.from_numpy(windows))
    temperatures = torch.tensor([2.0, 0.5, 1.0])  # gun_shot has none of its own
    result = Classifier(to_stored(model), "cpu").classify(windows)
    assert result.scores.dtype == result.activity.dtype == np.float32
    assert result.scores.shape == (2, 3)
    assert result.activity.shape == (2, 3, 22)
    expected = torch.sigmoid(logits / temperatures)
    assert np.abs(result.scores - expected.numpy()).max() < 1e-5
    expected = torch.sigmoid(activity / temperatures[:, None])
    assert np.abs(result.activity - expected.numpy()).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 2])
def test_a_window_scores_the_same_in_any_batch(channels: int):
    classifier = Classifier(stored_model(), "cpu")
    windows = seeded_windows(7, channels)
    together = classifier.classify(windows)
    for index in range(7):
        alone = classifier.classify(windows[index : index + 1].copy())
        assert np.array_equal(alone.scores[0], together.scores[index])
        assert np.array_equal(alone.activity[0], together.activity[index])


def test_mono_counts_as_two_equal_channels():
    classifier = Classifier(stored_model(), "cpu")
    mono = seeded_windows(2, channels=1)
    stereo = classifier.classify(np.repeat(mono, 2, axis=1))
    assert np.abs(classifier.classify(mono).scores - stereo.scores).max() < 1e-5


def test_a_model_in_training_is_used_in_evaluation_mode_and_left_in_training():
    model = seeded_model()
    expected = Classifier(to_stored(model), "cpu").classify(seeded_windows(2))
    model.network.train()
    result = Classifier(to_stored(model), "cpu").classify(seeded_windows(2))
    assert np.array_equal(result.scores, expected.scores)
    assert model.network.training


class FakeGpu(TorchFunctionMode):
    """A GPU whose tensors stay on the CPU, until it breaks."""

    breaks: Exception | None = None
    """Raised by every transfer to it from now on."""

    spoils = False
    """Transfers turn numbers into NaN."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        device = args[1] if function is torch.Tensor.to and len(args) > 1 else ""
        if not (isinstance(device, str | torch.device) and "cuda" in str(device)):
            return function(*args, **(kwargs or {}))
        if self.breaks is not None:
            raise self.breaks
        return args[0] * torch.nan if self.spoils else args[0].clone()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A fake GPU that torch reports as available."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(classifier, "likely_gpu", lambda: "cuda")
    with FakeGpu() as fake:
        yield fake


@pytest.mark.parametrize("compute_device", ["auto", "cuda"])
class TestGpuThatFailsInUse:
    """The CPU takes over for good with the right scores; this is logged once."""

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
            torch.AcceleratorError("CUDA error: the device is gone\nCUDA kernel ..."),
            RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        ],
    )
    def test_the_cpu_takes_over(
        self, error: Exception, compute_device: str, gpu: FakeGpu, caplog
    ):
        expected = Classifier(stored_model(), "cpu").classify(seeded_windows(3))
        classifier = Classifier(stored_model(), compute_device)
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
        message = (
            f"the compute device cuda failed ({first_line}); going on with the cpu"
        )
        assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
            ("ERROR", message)
        ]

    def test_it_does_not_come_back(self, compute_device: str, gpu: FakeGpu):
        classifier = Classifier(stored_model(), compute_device)
        gpu.breaks = torch.OutOfMemoryError("CUDA out of memory.")
        classifier.classify(seeded_windows(1))
        gpu.breaks = None
        classifier.classify(seeded_windows(1))
        assert classifier.compute_device == "cpu"

    def test_scores_that_are_not_finite_count_as_failure(
        self, compute_device: str, gpu: FakeGpu
    ):
        expected = Classifier(stored_model(), "cpu").classify(seeded_windows(2))
        classifier = Classifier(stored_model(), compute_device)
        gpu.spoils = True
        after = classifier.classify(seeded_windows(2))
        assert np.array_equal(after.scores, expected.scores)
        assert classifier.compute_device == "cpu"


def test_the_background_outlives_the_gpu(gpu: FakeGpu):
    model = stored_model("mobile", WITH_BACKGROUND)
    first_frames = range(0, 2000, 48)
    sounds = overlapping_windows(first_frames, 2)
    places = [
        [WindowPlace(history, at) for at in first_frames]
        for history in (WindowHistory(), WindowHistory())
    ]
    expected = Classifier(model, "cpu", engine="torch").classify(sounds, places[0])
    classifier = Classifier(model, "cuda")
    before = classifier.classify(sounds[:12], places[1][:12])
    gpu.breaks = RuntimeError("the device is gone")
    after = classifier.classify(sounds[12:], places[1][12:])
    assert (classifier.compute_device, classifier.engine) == ("cpu", "onnx")
    scores = np.concatenate([before.scores, after.scores])
    assert np.abs(scores - expected.scores).max() < 1e-5
    alone = classifier.classify(sounds[12:]).scores
    assert (np.abs(after.scores - alone).max(axis=1) > 1e-3).mean() > 0.5


def test_a_gpu_that_fails_adds_nothing_to_the_background(gpu: FakeGpu):
    model, sounds = stored_model("mobile", WITH_BACKGROUND), seeded_windows(9)
    found = []
    for compute_device in ("cpu", "cuda"):
        classifier, history = Classifier(model, compute_device), WindowHistory()
        places = [WindowPlace(history, 48 * number) for number in range(9)]
        gpu.spoils = True
        found.append(classifier.classify(sounds, places).scores)
        gpu.spoils = False
    np.testing.assert_array_equal(*found)


def test_on_the_cpu_the_content_of_the_file_is_not_kept():
    model = stored_model()
    content = weakref.ref(model)
    on_cpu = Classifier(model, "cpu")
    del model
    gc.collect()

    assert content() is None
    assert on_cpu.classify(seeded_windows(1)).scores.shape[0] == 1


def test_an_error_on_the_cpu_is_raised():
    classifier = Classifier(stored_model(), "cpu")
    with pytest.raises(Exception, match="Got invalid dimensions"):
        classifier.classify(np.zeros((1, 2, 3, 4), np.float32))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
class TestGpuThatNeverWorked:
    """It is absent, or torch reports it as available and it fails in use."""

    @pytest.fixture(params=["absent", "broken"], autouse=True)
    def state(self, request, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setattr(classifier, "likely_gpu", lambda: "cuda")
        if request.param == "broken":
            monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        return request.param

    def test_auto_falls_back_to_the_cpu_and_logs_the_reason(self, state: str, caplog):
        classifier = Classifier(stored_model(), "auto")
        classifier.classify(seeded_windows(1))
        assert classifier.compute_device == "cpu"
        messages = [record.getMessage() for record in caplog.records]
        assert len(messages) == (state == "broken")
        assert all("cuda does not work (" in each for each in messages)
        assert all("\n" not in each for each in messages)

    def test_an_explicit_one_is_a_usage_error(self, state: str):
        rule = "is not there" if state == "absent" else "does not work"
        with pytest.raises(UsageError, match=rf"compute_device: cuda {rule}.* cpu"):
            Classifier(stored_model(), "cuda")

    def test_an_explicit_one_may_fall_back_to_the_cpu(self, state: str, caplog):
        classifier = Classifier(stored_model(), "cuda", cpu_fallback=True)
        classifier.classify(seeded_windows(1))
        assert classifier.compute_device == "cpu"
        assert classifier.failed_compute_device == "cuda"
        (record,) = caplog.records
        assert record.getMessage().startswith("the compute device cuda ")


class TestWithoutTorch:
    """The base install, which has ONNX Runtime alone."""

    @pytest.fixture(autouse=True)
    def missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        find = importlib.util.find_spec

        def find_others(name: str) -> ModuleSpec | None:
            return None if name == "torch" else find(name)

        monkeypatch.setattr(importlib.util, "find_spec", find_others)

    def test_auto_takes_the_cpu_and_says_nothing(self, caplog):
        classifier = Classifier(stored_model(), "auto")
        assert (classifier.compute_device, classifier.engine) == ("cpu", "onnx")
        assert classifier.failed_compute_device is None
        assert caplog.records == []

    def test_its_engine_is_refused_with_the_command_that_installs_it(self):
        expected = "model.engine: needs the extra train, .* run `.* install .*torch"
        with pytest.raises(ConfigError, match=expected):
            Classifier(stored_model(), "cpu", engine="torch")

    def test_a_gpu_is_refused_by_a_command(self):
        expected = "compute_device: cuda does not work .*extra train.* choose auto or"
        with pytest.raises(UsageError, match=expected):
            Classifier(stored_model(), "cuda")

    def test_a_service_goes_on_with_the_cpu_instead_of_a_gpu(self, caplog):
        classifier = Classifier(stored_model(), "cuda", cpu_fallback=True)
        assert (classifier.compute_device, classifier.engine) == ("cpu", "onnx")
        assert classifier.failed_compute_device == "cuda"
        (record,) = caplog.records
        assert "extra train" in record.getMessage()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_scores_of_the_cpu():
    windows = seeded_windows(5)
    here = Classifier(stored_model(), "cpu").classify(windows)
    there = Classifier(stored_model(), "cuda").classify(windows)
    assert np.abs(here.scores - there.scores).max() < 2e-3  # TF32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_scores_of_the_cpu_against_a_background():
    model, first_frames = stored_model("mobile", WITH_BACKGROUND), range(0, 2000, 24)
    windows = overlapping_windows(first_frames, 2)
    found = []
    for compute_device in ("cpu", "cuda"):
        classifier, history = Classifier(model, compute_device), WindowHistory()
        places = [WindowPlace(history, at) for at in first_frames]
        found.append(classifier.classify(windows, places).scores)
        assert classifier.compute_device == compute_device
    here, there = found
    assert np.abs(here - there).max() < 2e-3  # TF32


# Activity is drawn: # highest, + at least half of it, - and . less.
SCORES = {"#": 0.8, "+": 0.5, "-": 0.4, ".": 0.1}


def drawn(*labels: str) -> np.ndarray:
    return np.array([[[SCORES[c] for c in label] for label in labels]], np.float32)


@pytest.mark.parametrize(
    ("activity", "span"),
    [
        ("....#.....", (4, 5)),
        ("...+#+....", (3, 6)),
        ("...-#-....", (3, 6)),  # exactly half of the peak still counts
        ("..+..#..+.", (2, 9)),  # pauses of two columns are bridged
        (".+...#...+", (5, 6)),  # of three they are not
        (".+..+..#+.", (1, 9)),  # bridges join
        ("#.........", (0, 1)),  # at the edges of the window
        (".........#", (9, 10)),
        ("+++++#++++", (0, 10)),
        ("..........", (0, 10)),  # all equal: the whole window
        ("+...#...++", (4, 5)),  # only the run that holds the highest column
        ("....#..+..", (4, 8)),  # a bridge needs only one column behind it
        ("+..#......", (0, 4)),
    ],
)
def test_the_span_is_the_run_around_the_highest_column(
    activity: str, span: tuple[int, int]
):
    assert active_spans(drawn(activity))[0, 0].tolist() == list(span)
    mirrored = [len(activity) - span[1], len(activity) - span[0]]
    assert active_spans(drawn(activity[::-1]))[0, 0].tolist() == mirrored


def test_each_label_of_each_window_has_its_own_span():
    batch = np.concatenate([drawn("#....", "...#."), drawn("++#++", "....#")])
    assert active_spans(batch).tolist() == [[[0, 1], [3, 4]], [[0, 5], [4, 5]]]


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, max_side=12),
        elements=st.floats(0, 1, width=32),
    )
)
def test_the_span_holds_the_highest_column_and_lies_in_the_window(
    activity: np.ndarray,
):
    spans = active_spans(activity)
    highest = activity.argmax(axis=-1)
    assert spans.shape == (*activity.shape[:2], 2)
    assert (spans[..., 0] >= 0).all()
    assert (spans[..., 0] <= highest).all()
    assert (highest < spans[..., 1]).all()
    assert (spans[..., 1] <= activity.shape[-1]).all()


def test_a_column_stands_for_half_a_stride_around_the_centre_of_its_frame():
    column = np.array([11, 12])
    start, stop = span_samples(column, total_stride=16, hop_length=512, n_fft=1024)
    assert stop - start == 16 * 512
    assert (start + stop) / 2 == 11 * 16 * 512 + 1024 / 2


def test_no_span_begins_before_the_window():
    assert span_samples(np.array([0, 1]), 16, 512, 1024).tolist() == [0, 4608]


def test_a_gpu_that_fails_leaves_a_model_without_graph_to_torch(
    gpu: FakeGpu, caplog: pytest.LogCaptureFixture
):
    """A model file of an earlier version has no graph for ONNX Runtime."""
    classifier = Classifier(replace(stored_model(), graphs={}), "cuda")
    before = classifier.classify(seeded_windows(2))
    gpu.breaks = RuntimeError("the device is gone")
    after = classifier.classify(seeded_windows(2))
    assert (classifier.compute_device, classifier.engine) == ("cpu", "torch")
    assert np.abs(after.scores - before.scores).max() < 1e-5


def test_a_mono_graph_that_differs_is_found():
    model = stored_model()
    other = stored_model(seed=1).graphs[1]
    with pytest.raises(ModelFileError, match=r"other numbers .* \(one channel: scores"):
        Classifier(replace(model, graphs={**model.graphs, 1: other}), "cpu")
