"""The model file: a saved model loads unchanged; any other file is rejected."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from monitor.errors import ModelFileError
from monitor.model import frontend, golden
from monitor.model.card import ModelCard, Thresholds, read_card
from monitor.model.golden import golden_signal
from monitor.model.model_file import load_model, save_model
from monitor.model.networks import PRESETS
from monitor.spec import ModelSpec
from tests.support import ROOT
from tests.support.models import seeded_model, seeded_windows


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, seeded_model())
    return path


def metadata_of(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata


def rewrite(
    path: Path,
    tensors: Callable[[dict[str, Tensor]], None] = lambda tensors: None,
    metadata: Callable[[dict[str, str]], None] = lambda metadata: None,
) -> None:
    """Write `path` again with changed contents."""
    content, head = load_file(path), metadata_of(path)
    tensors(content)
    metadata(head)
    save_file(content, path, head)


def change(key: str, **fields: object) -> Callable[[dict[str, str]], None]:
    def apply(metadata: dict[str, str]) -> None:
        metadata[key] = json.dumps(json.loads(metadata[key]) | fields)

    return apply


def nested(depth: int) -> list[object]:
    """Lists in lists."""
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize("preset", PRESETS)
def test_a_loaded_model_is_the_saved_one(preset: str, tmp_path: Path):
    model = seeded_model(preset)
    save_model(tmp_path / "m", model)
    loaded = load_model(tmp_path / "m")
    windows = seeded_windows(2)
    with torch.no_grad():
        expected, result = model.network(windows), loaded.network(windows)
    assert torch.equal(result.logits, expected.logits)
    assert torch.equal(result.activity, expected.activity)
    assert loaded.spec == model.spec
    stride = model.network.total_stride
    assert loaded.card == model.card.model_copy(update={"total_stride": stride})
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
        windows = seeded_windows(2)
        distance = loaded.network(windows).logits - model.network(windows).logits
    assert 0 < distance.abs().max() < 0.02


def test_rounding_to_half_the_bits_passes_the_golden_vector(tmp_path: Path):
    model = seeded_model()
    signal = torch.from_numpy(golden_signal(model.spec))
    with torch.no_grad():
        # So strong that rounding moves scores by more than the golden vector allows.
        model.network.head.weight.mul_(300)
        windows = frontend.LogMel(model.spec)(signal)[None]
        model.network.head.bias.sub_(model.network(windows).logits[0])
    save_model(tmp_path / "half", model, half=True)
    loaded = load_model(tmp_path / "half")
    golden_of = [
        golden.golden_vector(m.network, m.spec, m.temperatures) for m in (model, loaded)
    ]
    assert np.abs(golden_of[0].scores - golden_of[1].scores).max() > 1e-3


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
    expected = card.model_copy(update={"total_stride": 16})
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

    def test_another_front_end_is_found(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ):
        class Louder(frontend.LogMel):
            def forward(self, samples: Tensor) -> Tensor:
                return super().forward(samples) + 0.02  # dB

        monkeypatch.setattr(golden, "LogMel", Louder)
        with pytest.raises(ModelFileError, match=r"log_mel differs by up to 0.02"):
            load_model(saved)

    def test_weights_that_give_nan_are_found(self, saved: Path):
        def negative_variance(tensors: dict[str, Tensor]) -> None:
            tensors["network.blocks.1.running_var"].neg_()

        rewrite(saved, tensors=negative_variance)
        with pytest.raises(ModelFileError, match="differs by up to nan"):
            load_model(saved)


GOLDEN_SAMPLES = [
    [-0.01, 0.0037207825, -0.0875332505, 0.0856338367, 0.0],
    [-0.01, 0.0048503233, -0.0204960424, -0.0186161250, 0.0],
]


class TestForeignFiles:
    """Each is rejected in one sentence that names the file."""

    def reject(self, path: Path, rule: str) -> None:
        with pytest.raises(ModelFileError, match=rule) as caught:
            load_model(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x02",
            b"a text file that is called a model",
            bytes(1000),
            (2**63).to_bytes(8, "little") + b"{}",  # a header without end
            (2**19).to_bytes(8, "little") + b"{}",  # longer than the file
            (4).to_bytes(8, "little") + b"null",
            (2).to_bytes(8, "little") + b"[]",
            (4).to_bytes(8, "little") + b'"no"',
            (2**20).to_bytes(8, "little") + b"[" * 2**20,
            (2).to_bytes(8, "little") + b"\xff\xfe",
            (20).to_bytes(8, "little") + b'{"__metadata__":  2}',
            (10).to_bytes(8, "little") + b'{"a": {} }',
        ],
    )
    def test_a_file_that_is_not_safetensors(self, content: bytes, tmp_path: Path):
        path = tmp_path / "foreign"
        path.write_bytes(content)
        self.reject(path, "is not a safetensors file")

    def test_a_missing_file_a_folder_and_a_device(self, tmp_path: Path):
        self.reject(tmp_path / "missing", "there is no such model file")
        self.reject(tmp_path, "is not a file")
        self.reject(Path("/dev/zero"), "is not a file")

    def test_a_file_that_is_too_large(self, tmp_path: Path):
        path = tmp_path / "large"
        with path.open("wb") as file:
            file.truncate(2**40)
        self.reject(path, "has 1048576 MiB; a model file has at most 64")

    def test_a_header_that_is_too_large(self, tmp_path: Path):
        path = tmp_path / "large"
        save_file({"weight": torch.zeros(3)}, path, {"x": "x" * 2**20})
        self.reject(path, "is not a safetensors file$")

    def test_the_weights_of_another_program(self, tmp_path: Path):
        path = tmp_path / "other"
        save_file({"weight": torch.zeros(3)}, path)
        self.reject(path, r"not a model of this program .*'not given'")

    def test_a_file_that_was_cut_short(self, saved: Path):
        saved.write_bytes(saved.read_bytes()[:-100])
        self.reject(saved, "is damaged")

    @pytest.mark.parametrize(
        ("fields", "rule"),
        [
            ({"preset": "arcticle"}, "preset: 'arcticle' is not a network"),
            ({"labels": []}, "card: labels"),
            ({"labels": ["siren", "siren"]}, "labels: two of them are the same"),
            ({"labels": ["one", "two"]}, "card: thresholds: 'siren' is not one"),
            ({"labels": [" a", "c"]}, "labels.0: cannot be a name: it begins with a"),
            ({"labels": ["a", "=1"]}, "labels.1: cannot be a name: it begins with '='"),
            ({"labels": ["a", "\u202eb"]}, "labels.1: cannot be a name: it holds"),
            ({"labels": ["a", ""]}, "labels.1: cannot be a name: it is empty"),
            ({"name": "x" * 64}, "card: name: cannot be a name: it has 64"),
            ({"labels": ["a\x1b[31mb", "c"]}, "card: labels.0"),
            ({"temperatures": {"siren": 0}}, "card: temperatures.siren"),
            ({"temperatures": {"siren": 1e-300}}, "card: temperatures.siren"),
            ({"total_stride": 10**9}, "card: total_stride"),
            ({"total_stride": 32}, "total_stride: 32 is not that of the network"),
            ({"created": "x" * 10_000}, "card: created"),
            ({"report": [[[]]]}, "card: report"),
            ({"report": {"x": nested(500)}}, "card: Invalid JSON: recursion limit"),
            ({"a\x1b[31m": 1}, r"card: a\\x1b\[31m: Extra inputs"),
            (
                {"thresholds": {"siren": {"onset": 0.2, "offset": 0.5}}},
                "thresholds.siren: offset 0.5 is above onset 0.2",
            ),
        ],
    )
    def test_a_card_that_breaks_a_rule(
        self, fields: dict[str, object], rule: str, saved: Path
    ):
        rewrite(saved, metadata=change("card", **fields))
        self.reject(saved, rule)

    @pytest.mark.parametrize(
        ("fields", "rule"),
        [
            ({"f_max": 30_000}, "spec: f_max: 30000.0 Hz must lie above"),
            (
                {"n_mels": 10**9},
                "spec: n_mels: .* less than or equal to 512, not 1000000000",
            ),
            ({"n_fft": 2**30}, "spec: n_fft"),
            ({"window_frames": 10**12}, "spec: window_frames"),
            ({"hop_length": 10**12}, "spec: hop_length"),
            ({"window_frames": 8000}, "8000 frames of 1024 samples.* are too many"),
            ({"sample_rate": 1}, "spec: sample_rate"),
            ({"floor_db": 10.0**308}, "spec: floor_db"),
            ({"sample_rate": 10**400}, "spec: sample_rate"),
            ({"f_max": 10**400}, "spec: "),
            ({"n_mels": 500}, r"network.normalise.deviation is F32 \(64, 1\)"),
            ({"f_max": 60.0}, "hold no FFT bin"),
            ({"window_frames": 343}, "log_mel has shape"),
            ({"floor_db": -60.0}, "log_mel differs"),
        ],
    )
    def test_a_spec_that_breaks_a_rule(
        self, fields: dict[str, object], rule: str, saved: Path
    ):
        rewrite(saved, metadata=change("spec", **fields))
        self.reject(saved, rule)

    @pytest.mark.parametrize(
        "text", ["", "{", '{"n_mels": NaN}', "[" * 100_000, "null", "1" * 5000]
    )
    def test_a_spec_that_is_not_json(self, text: str, saved: Path):
        rewrite(saved, metadata=lambda metadata: metadata.update(spec=text))
        self.reject(saved, "spec: ")

    @pytest.mark.parametrize(
        ("tensors", "rule"),
        [
            (lambda t: t.pop("network.head.bias"), "lacks the tensor"),
            (lambda t: t.pop("golden.scores"), "lacks the tensor 'golden.scores'"),
            (lambda t: t.update(more=torch.zeros(1)), "has the tensor 'more'"),
            (
                lambda t: t.update({"network.head.bias": torch.zeros(4)}),
                r"network.head.bias is F32 \(4,\); by its card .* \(3,\)",
            ),
            (
                lambda t: t.update({"network.head.bias": torch.zeros(3).long()}),
                "is I64",
            ),
            (
                lambda t: t.update({"golden.scores": torch.zeros(3).half()}),
                "golden.scores is F16",
            ),
            (
                lambda t: t["network.head.bias"].fill_(torch.inf),
                "network.head.bias holds numbers that are not finite",
            ),
            (lambda t: t["golden.scores"].fill_(torch.nan), "golden.scores holds"),
        ],
    )
    def test_tensors_that_do_not_fit(
        self, tensors: Callable[[dict[str, Tensor]], None], rule: str, saved: Path
    ):
        rewrite(saved, tensors=tensors)
        self.reject(saved, rule)

    def test_reading_the_card_rejects_what_the_metadata_shows(self, tmp_path: Path):
        with pytest.raises(ModelFileError, match="there is no such model file"):
            read_card(tmp_path / "missing")
