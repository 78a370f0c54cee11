"""The engines give the same scores, over real sounds and hostile ones."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import ModelFileError
from monitor.model.classifier import Classifier
from monitor.model.engines import WindowHistory, WindowPlace
from monitor.model.engines.onnx import OnnxEngine, _WindowMaps
from monitor.model.engines.torch import TorchEngine
from monitor.model.frontend import Array, LogMel
from monitor.model.model_file import load_model
from monitor.model.networks import PRESETS
from monitor.model.trained import network_of, to_stored
from monitor.spec import ModelSpec
from tests.support import ROOT
from tests.support.models import seeded_model, seeded_windows, stored_model

SPEC = ModelSpec()
R = np.random.default_rng(5)
TIME = np.arange(SPEC.window_samples) / SPEC.sample_rate
SOUNDS = {
    "noise": R.normal(0, 0.1, SPEC.window_samples),
    "silence": np.zeros(SPEC.window_samples),
    "dither": R.integers(-1, 2, SPEC.window_samples) / 32_768,
    "full scale": np.sign(np.sin(2 * np.pi * 440 * TIME)),
    "offset": np.ones(SPEC.window_samples),
    "click": (np.arange(SPEC.window_samples) == 80_000).astype(float),
    "chirp": 0.5 * np.sin(2 * np.pi * 1000 * TIME**2),
    "far above full scale": 1e6 * R.normal(0, 1, SPEC.window_samples),
}


def windows_of(sound: str) -> Array:
    """(1, 2, n_mels, frames); the second channel is quieter."""
    samples = np.stack([SOUNDS[sound], 0.3 * SOUNDS[sound]]).astype(np.float32)
    return LogMel(SPEC)(samples)[None]


@pytest.fixture(scope="module", params=["shipped", *PRESETS])
def engines(request: pytest.FixtureRequest) -> tuple[OnnxEngine, TorchEngine]:
    is_shipped = request.param == "shipped"
    model = load_model(None) if is_shipped else stored_model(request.param)
    torch_engine = TorchEngine(network_of(model), model.temperatures, SPEC.channels)
    return OnnxEngine(model), torch_engine


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_engines_agree(
    engines: tuple[OnnxEngine, TorchEngine], sound: str, channels: int
) -> None:
    windows = windows_of(sound)[:, :channels]
    for light, reference in zip(*(e.run(windows) for e in engines), strict=True):
        assert light.shape == reference.shape
        assert light.dtype == reference.dtype == np.float32
        assert np.abs(light - reference).max() < 1e-5


@pytest.mark.parametrize("preset", PRESETS)
def test_one_channel_counts_as_two_equal_ones(preset: str) -> None:
    engine = OnnxEngine(stored_model(preset))
    mono = seeded_windows(2, channels=1)
    scores, activity = engine.run(mono)
    both_scores, both_activity = engine.run(np.repeat(mono, 2, axis=1))
    assert np.abs(scores - both_scores).max() < 1e-5
    assert np.abs(activity - both_activity).max() < 1e-5


FIRST_FRAMES = (0, 48, 96, 112, 208, 240, 600, 616, 616, 664)
"""Hops of some strides, a window left out, a gap, the same window again."""


@pytest.mark.parametrize("channels", [1, 2])
def test_a_window_that_follows_another_has_the_same_scores_to_the_last_bit(
    engines: tuple[OnnxEngine, TorchEngine], channels: int
) -> None:
    frames = np.concatenate(seeded_windows(3, channels), axis=-1)
    sounds = np.stack([frames[..., at : at + 344] for at in FIRST_FRAMES])
    history = WindowHistory()
    places = [WindowPlace(history, at) for at in FIRST_FRAMES]
    light, _ = engines
    apart = light.run(sounds)
    one_by_one = [
        light.run(window[None], [place])
        for window, place in zip(sounds, places, strict=True)
    ]
    together = light.run(sounds, [WindowPlace(WindowHistory(), 0), *places[1:]])
    for number, expected in enumerate(apart):
        found = np.concatenate([part[number] for part in one_by_one])
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(together[number], expected)


@pytest.mark.parametrize(("preset", "frames"), [("article", 104), ("mobile", 128)])
def test_the_layers_before_the_first_gate_compute_few_frames_of_a_following_window(
    preset: str, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    compute = _WindowMaps._compute

    def counting(self: _WindowMaps, log_mel: Array) -> Array:
        computed.append(log_mel.shape[-1])
        return compute(self, log_mel)

    monkeypatch.setattr(_WindowMaps, "_compute", counting)
    history = WindowHistory()
    OnnxEngine(stored_model(preset)).run(
        seeded_windows(3), [WindowPlace(history, at) for at in (0, 48, 2000)]
    )
    assert computed == [344, frames, 344]


def test_a_model_without_a_graph_is_refused_with_the_command_that_adds_it(
    tmp_path: Path,
) -> None:
    model = stored_model()
    without = type(model)(
        model.spec,
        model.card,
        model.golden,
        model.weights,
        {},
        origin="old.safetensors",
    )
    with pytest.raises(
        ModelFileError,
        match=r"old.safetensors --convert NEW_FILE",
    ):
        Classifier(without, "cpu")
    assert Classifier(without, "cpu", engine="torch").engine == "torch"


def test_saving_leaves_the_network_as_it_was() -> None:
    model = seeded_model()
    model.network.train()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    to_stored(model, half=True)
    assert model.network.training
    for name, value in model.network.state_dict().items():
        assert (value == before[name]).all()
    assert all(parameter.requires_grad for parameter in model.network.parameters())


def test_no_engine_keeps_or_sends_usage_data(tmp_path: Path) -> None:
    """ONNX Runtime does by default, except where it believes to be in a test."""
    script = (
        "from monitor.model.classifier import Classifier\n"
        "from monitor.model.model_file import load_model\n"
        "Classifier(load_model(None), 'cpu')\n"
        "print(len(__import__('os').listdir('/proc/self/task')))"
    )
    home = {"HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=home,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(tmp_path.iterdir()) == []
    assert result.stdout == "1\n"
