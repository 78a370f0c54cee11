"""Any file that is not a model of this program is rejected in one sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from monitor.errors import ModelFileError
from monitor.model.card import read_card
from monitor.model.trained import load_model, save_model
from tests.support.curves import thresholds_on_curve
from tests.support.model_files import change, nested, open_model, rewrite
from tests.support.models import seeded_model

ON_CURVE = thresholds_on_curve((0.9,) * 5 + (0.7,) * 6).model_dump()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, seeded_model())
    return path


class TestForeignFiles:
    """Each is rejected in one sentence that names the file."""

    def reject(
        self, path: Path, rule: str, load: Callable[[Path], object] = open_model
    ) -> None:
        with pytest.raises(ModelFileError, match=rule) as caught:
            load(path)
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
            ({"total_stride": 32}, "its graph has .* not .*11"),
            ({"created": "x" * 10_000}, "card: created"),
            ({"report": [[[]]]}, "card: report"),
            ({"report": {"x": nested(500)}}, "card: Invalid JSON: recursion limit"),
            ({"a\x1b[31m": 1}, r"card: a\\x1b\[31m: Extra inputs"),
            (
                {"thresholds": {"siren": {"onset": 0.2, "offset": 0.5}}},
                "thresholds.siren: offset 0.5 is above onset 0.2",
            ),
            (
                {"thresholds": {"siren": {**ON_CURVE, "onset": 0.8}}},
                "thresholds.siren: curve: its onset at sensitivity 0.5 is 0.7, and",
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
            ({"n_mels": 500}, "its graph has a Sub that no network of its card has"),
            ({"f_max": 60.0}, "hold no FFT bin"),
            ({"window_frames": 343}, "log_mel has shape"),
            ({"floor_db": -60.0}, "log_mel differs"),
            ({"background": {}}, "lacks the tensor 'golden.background'"),
            (
                {"background": {"oldest_seconds": 1.0}},
                "spec: background: oldest_seconds: 1.0 lies after newest_seconds",
            ),
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
            (lambda t: t.pop("golden.scores"), "lacks the tensor 'golden.scores'"),
            (lambda t: t.update(more=torch.zeros(1)), "has the tensor 'more'"),
            (
                lambda t: t.update({"golden.scores": torch.zeros(3).half()}),
                "has the tensor 'golden.scores' of type F16",
            ),
            (
                lambda t: t["network.head.bias"].fill_(torch.inf),
                "network.head.bias holds numbers that are not finite",
            ),
            (lambda t: t["golden.scores"].fill_(torch.nan), "golden.scores holds"),
            (lambda t: t.pop("graph.mono"), "add it with"),
            (lambda t: t.pop("graph.scores"), "add it with"),
            (
                lambda t: t.update({"graph.mono": t["graph.mono"][:-1000]}),
                "its graph cannot be read",
            ),
            (
                lambda t: t.update({"graph.mono": t["graph.stereo"].clone()}),
                "its graph has .* not",
            ),
        ],
    )
    def test_tensors_that_do_not_fit(
        self, tensors: Callable[[dict[str, Tensor]], None], rule: str, saved: Path
    ):
        rewrite(saved, tensors=tensors)
        self.reject(saved, rule)

    @pytest.mark.parametrize(
        ("tensors", "rule"),
        [
            (lambda t: t.pop("network.head.bias"), "lacks the tensor 'head.bias'"),
            (
                lambda t: t.update({"network.head.bias": torch.zeros(4)}),
                r"head.bias is float32 \(4,\), unlike",
            ),
            (
                lambda t: t.update({"network.head.bias": torch.zeros(3).long()}),
                r"head.bias is int64",
            ),
        ],
    )
    def test_weights_that_do_not_fit_the_network(
        self, tensors: Callable[[dict[str, Tensor]], None], rule: str, saved: Path
    ):
        rewrite(saved, tensors=tensors)
        self.reject(saved, rule, load_model)

    def test_a_network_that_there_is_not(self, saved: Path):
        rewrite(saved, metadata=change("card", preset="arcticle"))
        self.reject(saved, "preset: 'arcticle' is not a network", load_model)

    def test_reading_the_card_rejects_what_the_metadata_shows(self, tmp_path: Path):
        with pytest.raises(ModelFileError, match="there is no such model file"):
            read_card(tmp_path / "missing")
