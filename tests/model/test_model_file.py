"""The model file: a saved model loads unchanged; any other file is rejected."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from monitor.errors import ModelFileError
from monitor.model import frontend, golden, model_file
from monitor.model.card import ModelCard, read_card
from monitor.model.frontend import Array
from monitor.model.golden import golden_signal
from monitor.model.networks import PRESETS
from monitor.model.thresholds import Thresholds
from monitor.model.trained import load_model, save_model
from monitor.spec import ModelSpec
from tests.support import ROOT
from tests.support.model_files import open_model, rewrite
from tests.support.models import WITH_BACKGROUND, seeded_model, seeded_windows


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, seeded_model())
    return path


@pytest.mark.parametrize("preset", PRESETS)
def test_a_loaded_model_is_the_saved_one(preset: str, tmp_path: Path):
    model = seeded_model(preset)
    save_model(tmp_path / "m", model)
    loaded = load_model(tmp_path / "m")
    channels = model.spec.channels
    windows = torch.from_numpy(seeded_windows(2, channels, spec=model.spec))
    with torch.no_grad():
        expected, result = model.network(windows), loaded.network(windows)
    assert torch.equal(result.logits, expected.logits)
    assert torch.equal(result.activity, expected.activity)
    assert loaded.spec == model.spec
    stride = model.network.total_stride
    strides = {"total_stride": stride, "hop_stride": model.network.hop_stride}
    assert loaded.card == model.card.model_copy(update=strides)
    assert not loaded.network.training


def test_half_the_bits_give_nearly_the_same_scores(tmp_path: Path):
    model = seeded_model()
    save_model(tmp_path / "whole", model)
    save_model(tmp_path / "half", model, half=True)
    weights = sum(p.numel() for p in model.network.parameters())
    sizes = [(tmp_path / name).stat().st_size for name in ("whole", "half")]
    assert sizes[0] - sizes[1] >= 2 * weights
    loaded = load_model(tmp_path / "half")
    assert {p.dtype for p in loaded.network.parameters()} == {torch.float32}
    with torch.no_grad():
        windows = torch.from_numpy(seeded_windows(2))
        distance = loaded.network(windows).logits - model.network(windows).logits
    assert 0 < distance.abs().max() < 0.02


def test_rounding_to_half_the_bits_passes_the_golden_vector(tmp_path: Path):
    model = seeded_model()
    log_mel = frontend.LogMel(model.spec)(golden_signal(model.spec))
    with torch.no_grad():
        # So strong that rounding moves scores by more than the golden vector allows.
        model.network.head.weight.mul_(300)
        windows = torch.from_numpy(log_mel)[None]
        model.network.head.bias.sub_(model.network(windows).logits[0])
    save_model(tmp_path / "half", model, half=True)
    save_model(tmp_path / "whole", model)
    half, whole = (
        model_file.load_model(tmp_path / name).golden.scores
        for name in ("half", "whole")
    )
    assert np.abs(half - whole).max() > 1e-3
    open_model(tmp_path / "half")


def test_a_model_of_one_channel_and_other_frames_is_saved_too(tmp_path: Path):
    spec = ModelSpec(channels=1, sample_rate=32_000, n_fft=512, n_mels=40)
    save_model(tmp_path / "m", seeded_model(spec=spec))
    assert load_model(tmp_path / "m").spec == spec


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(saved: Path):
    model = seeded_model(seed=1)
    save_model(saved, model)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    loaded = load_model(saved).network.state_dict()
    for name, value in model.network.state_dict().items():
        assert torch.equal(loaded[name], value)


def test_a_failed_save_leaves_the_old_file(saved: Path):
    before = saved.read_bytes()
    model = seeded_model()
    with torch.no_grad():
        next(model.network.parameters())[0] = torch.nan
    with pytest.raises(ModelFileError, match=r"not saved, because network.blocks"):
        save_model(saved, model)
    assert saved.read_bytes() == before


def test_a_save_that_fails_at_the_last_step_leaves_nothing_beside(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelFileError, match=r"folder: cannot be written"):
        save_model(tmp_path / "folder", seeded_model())
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path):
    with pytest.raises(ModelFileError, match=r"nowhere.* cannot be written"):
        save_model(tmp_path / "nowhere" / "m", seeded_model())


def test_the_card_is_read_without_torch(saved: Path):
    program = (
        "import sys; from monitor.model.card import read_card;"
        "spec, card = read_card(sys.argv[1]);"
        "print(card.labels, card.total_stride, spec.n_mels,"
        " [m for m in sys.modules if m in ('torch', 'torchaudio')])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, str(saved)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    assert output == "('siren', 'drilling', 'gun_shot') 16 64 []\n"


def test_a_card_survives_the_file(tmp_path: Path):
    card = ModelCard(
        name="urban 2",
        preset="article",
        labels=("siren", "drilling", "gun_shot"),
        thresholds={
            "siren": Thresholds(onset=0.6, offset=0.4, false_alarms_per_hour=0.5)
        },
        temperatures={"gun_shot": 1.5},
        report={"accuracy": 0.5, "confusion": [[1, 2], [3, 4]]},
        licence="CC BY-NC 4.0\nof the recordings",
        created="2026-01-01T00:00:00Z",
        training={"epochs": 30},
    )
    save_model(tmp_path / "m", replace(seeded_model(), card=card))
    expected = card.model_copy(update={"total_stride": 16, "hop_stride": 16})
    assert read_card(tmp_path / "m").card == expected


class TestGoldenVector:
    """A model that computes other numbers than where it was saved is rejected."""

    def test_the_signal_is_the_same_everywhere(self):
        signal = golden_signal(ModelSpec())
        assert signal.shape == (2, 176_640)
        assert signal.dtype == np.float32
        assert np.abs(signal).max() < 0.31
        some = signal[:, [0, 1, 1000, 100_000, 176_639]]
        assert some == pytest.approx(np.array(GOLDEN_SAMPLES), abs=1e-6)

    def test_a_changed_weight_is_found(self, saved: Path):
        def turn_up(tensors: dict[str, Tensor]) -> None:
            tensors["network.head.weight"][0] *= 1.1

        rewrite(saved, tensors=turn_up)
        with pytest.raises(ModelFileError, match=r"other numbers here.*scores differs"):
            load_model(saved)

    def test_weights_of_the_background_count(self, tmp_path: Path):
        """Exchanged with those of the embedding they give a window the same scores."""
        model = seeded_model("mobile", WITH_BACKGROUND)
        save_model(path := tmp_path / "m", model)
        assert load_model(path).spec == WITH_BACKGROUND
        assert load_file(path)["golden.background"].shape == (384,)

        def exchange(tensors: dict[str, Tensor]) -> None:
            for layer in ("linear", "hidden"):
                weight = tensors[f"network.head.1.{layer}.weight"]
                embedding, recent, background = weight.clone().chunk(3, dim=1)
                weight[:] = torch.cat([background, recent, embedding], dim=1)

        rewrite(path, tensors=exchange)
        with pytest.raises(ModelFileError, match=r"\(changed_scores differs"):
            load_model(path)

    def test_another_graph_is_found(self, saved: Path, tmp_path: Path):
        save_model(tmp_path / "other", seeded_model(seed=1))
        other = load_file(tmp_path / "other")["graph.stereo"]
        rewrite(saved, tensors=lambda tensors: tensors.update({"graph.stereo": other}))
        with pytest.raises(ModelFileError, match=r"other numbers here.*scores differs"):
            open_model(saved)

    def test_another_front_end_is_found(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ):
        class Louder(frontend.LogMel):
            def __call__(self, samples: Array) -> Array:
                return super().__call__(samples) + np.float32(0.02)  # dB

        monkeypatch.setattr(golden, "LogMel", Louder)
        with pytest.raises(ModelFileError, match=r"log_mel differs by up to 0.02"):
            open_model(saved)

    def test_weights_that_give_nan_are_found(self, saved: Path):
        def negative_variance(tensors: dict[str, Tensor]) -> None:
            tensors["network.blocks.1.running_var"].neg_()

        rewrite(saved, tensors=negative_variance)
        with pytest.raises(ModelFileError, match=r"gives numbers .* not finite"):
            load_model(saved)


GOLDEN_SAMPLES = [
    [-0.01, 0.0037207825, -0.0875332505, 0.0856338367, 0.0],
    [-0.01, 0.0048503233, -0.0204960424, -0.0186161250, 0.0],
]
