"""The engines give the same scores, over real sounds and hostile ones."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from monitor.errors import ModelFileError
from monitor.model.classifier import Classifier
from monitor.model.engines import WindowHistory, WindowPlace
from monitor.model.engines.onnx import OnnxEngine, _WindowMaps
from monitor.model.engines.torch import TorchEngine
from monitor.model.frontend import Array, LogMel
from monitor.model.model_file import Model, load_model
from monitor.model.networks import PRESETS
from monitor.model.networks.base import Views
from monitor.model.trained import network_of, to_stored
from monitor.spec import ModelSpec
from tests.support import ROOT
from tests.support.models import (
    SPECS,
    WITH_BACKGROUND,
    overlapping_windows,
    seeded_model,
    seeded_windows,
    stored_model,
)

SPEC = ModelSpec()
FRONTENDS = {spec.sample_rate: LogMel(spec) for spec in SPECS.values()}
R = np.random.default_rng(5)
TIME = np.arange(SPEC.window_samples) / SPEC.sample_rate
SOUNDS = {  # of a window of the default spec, which is the longest in samples
    "noise": R.normal(0, 0.1, SPEC.window_samples),
    "silence": np.zeros(SPEC.window_samples),
    "dither": R.integers(-1, 2, SPEC.window_samples) / 32_768,
    "full scale": np.sign(np.sin(2 * np.pi * 440 * TIME)),
    "offset": np.ones(SPEC.window_samples),
    "click": (np.arange(SPEC.window_samples) == 80_000).astype(float),
    "chirp": 0.5 * np.sin(2 * np.pi * 1000 * TIME**2),
    "far above full scale": 1e6 * R.normal(0, 1, SPEC.window_samples),
}


def windows_of(sound: str, spec: ModelSpec) -> Array:
    """(1, channels, n_mels, frames); a second channel is quieter."""
    samples = np.stack([SOUNDS[sound], 0.3 * SOUNDS[sound]]).astype(np.float32)
    part = samples[: spec.channels, : spec.window_samples]
    return FRONTENDS[spec.sample_rate](part)[None]


class Engines(NamedTuple):
    """Both engines of a model."""

    light: OnnxEngine
    reference: TorchEngine
    spec: ModelSpec


def both_engines(model: Model) -> Engines:
    torch_engine = TorchEngine(network_of(model), model.temperatures, model.spec)
    return Engines(OnnxEngine(model), torch_engine, model.spec)


@pytest.fixture(scope="module", params=["shipped", *PRESETS])
def engines(request: pytest.FixtureRequest) -> Engines:
    is_shipped = request.param == "shipped"
    return both_engines(load_model(None) if is_shipped else stored_model(request.param))


@pytest.fixture(scope="module")
def comparing() -> Engines:
    """Those of a model that takes a background."""
    return both_engines(stored_model("mobile", WITH_BACKGROUND))


@pytest.mark.parametrize("sound", SOUNDS)
def test_the_engines_agree(engines: Engines, sound: str) -> None:
    windows = windows_of(sound, engines.spec)
    for channels in range(1, windows.shape[1] + 1):
        part = windows[:, :channels]
        found = engines.light.run(part), engines.reference.run(part)
        for light, reference in zip(*found, strict=True):
            if light is None:  # the graph of an earlier version
                continue
            assert light.shape == reference.shape
            assert light.dtype == reference.dtype == np.float32
            assert (np.abs(light - reference) < 1e-5 * np.fmax(1, abs(light))).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_mean_of_the_columns_is_the_embedding(preset: str) -> None:
    model, spec = seeded_model(preset), SPECS[preset]
    windows = seeded_windows(2, channels=spec.channels, spec=spec)
    light = OnnxEngine(to_stored(model)).run(windows)
    with torch.inference_mode():
        columns = model.network.columns(torch.from_numpy(windows))
        expected = model.network.embed(columns).numpy()
    assert light.columns is not None
    assert light.columns.shape == columns.shape
    assert np.abs(light.columns.mean(axis=2) - expected).max() < 1e-4


STEREO = [preset for preset in PRESETS if SPECS[preset].channels == 2]


@pytest.mark.parametrize("preset", STEREO)
def test_one_channel_counts_as_two_equal_ones(preset: str) -> None:
    engine = OnnxEngine(stored_model(preset))
    mono = seeded_windows(2, channels=1)
    one, both = engine.run(mono), engine.run(np.repeat(mono, 2, axis=1))
    assert np.abs(one.scores - both.scores).max() < 1e-5
    assert np.abs(one.activity - both.activity).max() < 1e-5


FIRST_FRAMES = (0, 48, 96, 112, 208, 240, 600, 616, 616, 664)
"""Hops of some strides, a window left out, a gap, the same window again."""


@pytest.mark.parametrize(
    ("name", "channels"),
    [(name, 1) for name in ("shipped", *PRESETS)]
    + [(name, 2) for name in ("shipped", *STEREO)],
)
def test_a_window_that_follows_another_has_the_same_results_to_the_last_bit(
    name: str, channels: int
) -> None:
    model = load_model(None) if name == "shipped" else stored_model(name)
    light = OnnxEngine(model)
    sounds = overlapping_windows(FIRST_FRAMES, channels, model.spec)
    history = WindowHistory()
    places = [WindowPlace(history, at) for at in FIRST_FRAMES]
    # Scores depend on the background as well.
    run = light.run if model.spec.background is None else light.views
    apart = run(sounds)
    one_by_one = [
        run(window[None], [place]) for window, place in zip(sounds, places, strict=True)
    ]
    together = run(sounds, [WindowPlace(WindowHistory(), 0), *places[1:]])
    for number, expected in enumerate(apart):
        if expected is None:  # the graph of an earlier version
            continue
        found = np.concatenate([part[number] for part in one_by_one])
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(together[number], expected)


HOPS = range(0, 2000, 48)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("number", [0, 1])
def test_one_by_one_or_together_windows_are_compared_with_the_same_background(
    comparing: Engines, number: int, channels: int
) -> None:
    engine, sounds = comparing[number], overlapping_windows(HOPS, channels)
    one, other = WindowHistory(), WindowHistory()
    together = engine.run(sounds, [WindowPlace(one, at) for at in HOPS])
    parts = [
        engine.run(window[None], [WindowPlace(other, at)])
        for window, at in zip(sounds, HOPS, strict=True)
    ]
    for found, apart in zip(together, zip(*parts, strict=True), strict=True):
        assert found is not None
        np.testing.assert_array_equal(found, np.concatenate(apart))


@pytest.mark.parametrize("channels", [1, 2])
def test_the_engines_agree_with_a_background(comparing: Engines, channels: int) -> None:
    sounds = overlapping_windows(HOPS, channels)
    found = []
    for engine in comparing[:2]:
        history = WindowHistory()
        places = [WindowPlace(history, at) for at in HOPS]
        scores, alone = engine.run(sounds, places).scores, engine.run(sounds).scores
        # None has one before a window is three seconds old.
        changed = np.abs(scores - alone).max(axis=1) > 1e-3
        assert not changed[:6].any()
        assert changed[6:].mean() > 0.5
        found.append(scores)
    assert np.abs(found[0] - found[1]).max() < 1e-5
    sounding = found[0].max(axis=1) >= 0.7
    assert 0 < sounding.sum() < len(HOPS)


def test_a_window_is_compared_with_the_mean_embedding_of_those_before_it(
    comparing: Engines,
) -> None:
    network = seeded_model("mobile", WITH_BACKGROUND).network
    sounds = overlapping_windows((0, 48, 96, 384), 2)
    for engine in comparing[:2]:
        history = WindowHistory()
        places = [WindowPlace(history, at) for at in (0, 48, 96, 384)]
        scores = engine.run(sounds, places).scores
        embedding, recent = map(torch.from_numpy, engine.views(sounds))
        before = embedding[:3].mean(dim=0, keepdim=True)
        with torch.inference_mode():
            columns = network.columns(torch.from_numpy(sounds))
            logits = network.compare(Views(embedding[3:], recent[3:]), before)
        assert torch.allclose(embedding, columns.mean(dim=2), atol=1e-5)
        assert torch.allclose(recent, columns[..., -6:].mean(dim=2), atol=1e-5)
        temperatures = torch.tensor([2.0, 0.5, 1.0])
        expected = torch.sigmoid(logits / temperatures).numpy()
        assert np.abs(scores[3:] - expected).max() < 1e-5


def test_a_window_that_follows_silence_begins_a_hold(comparing: Engines) -> None:
    """A loud sound becomes background after 30 seconds in a row."""
    first_frames = range(0, 3100, 48)
    sounds = overlapping_windows(HOPS, 1)
    for engine in comparing[:2]:
        highest = engine.run(sounds).scores.max(axis=1)
        loud = sounds[highest.argmax(), None]
        assert highest.max() >= 0.7
        for is_silent in (False, True):
            history = WindowHistory()
            for number, at in enumerate(first_frames):
                place = WindowPlace(history, at, is_silent and number == 30)
                history.maps = None  # it is no stream
                engine.run(loud, [place])
            assert history.background is not None
            has_background = history.background.before(3100) is not None
            assert has_background is not is_silent


def test_the_views_neither_use_nor_change_the_background(comparing: Engines) -> None:
    sounds = overlapping_windows(HOPS, 1)
    for engine in comparing[:2]:
        history = WindowHistory()
        views = engine.views(sounds, [WindowPlace(history, at) for at in HOPS])
        assert history.background is None
        for found, alone in zip(views, engine.views(sounds), strict=True):
            np.testing.assert_array_equal(found, alone)
            assert (found.shape, found.dtype) == ((len(HOPS), 384), np.float32)


@pytest.mark.parametrize(
    ("preset", "frames"), [("article", 104), ("mn04", 128), ("mobile", 128)]
)
def test_the_layers_before_the_first_gate_compute_few_frames_of_a_following_window(
    preset: str, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    compute = _WindowMaps._compute

    def counting(self: _WindowMaps, log_mel: Array) -> Array:
        computed.append(log_mel.shape[-1])
        return compute(self, log_mel)

    monkeypatch.setattr(_WindowMaps, "_compute", counting)
    history, spec = WindowHistory(), SPECS[preset]
    OnnxEngine(stored_model(preset)).run(
        seeded_windows(3, spec.channels, spec=spec),
        [WindowPlace(history, at) for at in (0, 48, 2000)],
    )
    assert computed == [spec.window_frames, frames, spec.window_frames]


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
