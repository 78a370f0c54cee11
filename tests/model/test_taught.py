"""The file of a taught label: read as written, and nothing else is read."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from monitor.errors import ModelFileError
from monitor.model.card_file import MAX_BYTES
from monitor.model.head_fit import Discriminant, levels_of
from monitor.model.negatives import (
    Negatives,
    NegativesCard,
    negatives_path,
    read_negatives,
    write_negatives,
)
from monitor.model.taught import (
    KEY,
    TaughtCard,
    TaughtLabel,
    check_network,
    label_problem,
    read_taught,
    read_taught_card,
    scaled_head,
    sigmoid,
    taught_files,
    taught_path,
    write_taught,
)
from monitor.model.thresholds import Thresholds

FEATURES = 6
CARD = TaughtCard(
    label="doorbell",
    model="world",
    network="0123456789abcdef" * 4,
    clips=5,
    preset="impulsive",
    thresholds=Thresholds(onset=0.5, offset=0.3),
    report={"detected": 5},
)
TAUGHT = TaughtLabel(CARD, np.linspace(-1, 1, FEATURES, dtype=np.float32), 0.25)


def test_a_label_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = taught_path(tmp_path, "doorbell")
    write_taught(path, TAUGHT)
    found = read_taught(path)
    assert found.card == CARD
    assert found.bias == TAUGHT.bias
    np.testing.assert_array_equal(found.weights, TAUGHT.weights)
    assert taught_files(tmp_path) == [path]
    assert path.stat().st_size < 4096


def test_the_same_label_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_taught(tmp_path / name, TAUGHT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_score_of_a_window_is_that_of_the_mean_of_its_columns() -> None:
    columns = np.random.default_rng(0).random((3, FEATURES, 4), np.float32)
    logits = columns.mean(axis=-1) @ TAUGHT.weights + TAUGHT.bias
    np.testing.assert_allclose(TAUGHT.scores(columns), sigmoid(logits), rtol=1e-6)
    assert TAUGHT.activity(columns).shape == (3, 4)
    single = TAUGHT.scores(columns[..., 1:2])
    np.testing.assert_allclose(TAUGHT.activity(columns)[:, 1], single, rtol=1e-6)


def test_the_threshold_has_score_one_half_and_a_typical_example_nine_tenths() -> None:
    rng = np.random.default_rng(1)
    head = Discriminant([rng.standard_normal((200, FEATURES))]).fit(
        np.eye(FEATURES)[:1]
    )
    levels = levels_of(np.array([8.0, 9.0, 10.0]), quiet=2.0)
    weights, bias = scaled_head(head, levels)
    direction = head.weights / (head.weights @ head.weights)
    for deviation, score in ((levels.threshold, 0.5), (levels.typical, 0.9)):
        embedding = direction * (deviation - head.bias)
        logit = embedding @ weights + bias
        assert sigmoid(np.float32(logit)) == pytest.approx(score, abs=2e-3)


def test_a_label_of_a_replaced_model_is_rejected() -> None:
    check_network(TAUGHT, "world", CARD.network, FEATURES)
    with pytest.raises(ModelFileError, match="'world' that was replaced since: teach"):
        check_network(TAUGHT, "world", "f" * 64, FEATURES)
    with pytest.raises(ModelFileError, match="for the model 'world', not for 'urban'"):
        check_network(TAUGHT, "urban", "f" * 64, FEATURES)
    with pytest.raises(ModelFileError, match="has 6 weights"):
        check_network(TAUGHT, "world", CARD.network, 384)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("doorbell", None),
        ("Türklingel 2", None),
        ("../../etc", "file names cannot have"),
        (".hidden", "begins with a dot"),
        ("bell ", "ends with a space"),
        ("-x", "as formulas and options do"),
        ("a\nb", "cannot be shown"),
    ],
)
def test_a_name_must_do_for_a_file(name: str, problem: str | None) -> None:
    found = label_problem(name)
    assert (found is None) if problem is None else (problem in str(found))


def written(path: Path, **changes: object) -> Path:
    """A file of a label with other tensors, or another card."""
    tensors = {
        "weights": TAUGHT.weights,
        "bias": np.array([0.25], np.float32),
        "golden": np.zeros((4, 3), np.float32),
    }
    card = CARD.model_dump(mode="json", exclude_none=True)
    for key, value in changes.items():
        if key in tensors:
            tensors[key] = value
        else:
            card[key] = value
    path.write_bytes(save(tensors, {KEY: json.dumps(card)}))
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "gives other numbers here"),
        ({"weights": np.ones(3, np.float64)}, "weights is float64"),
        ({"bias": np.ones(2, np.float32)}, "bias is float32 of shape"),
        ({"weights": np.full(3, np.nan, np.float32)}, "not finite"),
        ({"clips": 0}, "clips: Input should be greater"),
        ({"network": "abc"}, "network: String should match"),
        ({"extra": 1}, "extra: Extra inputs"),
        ({"format": "another"}, "format: Input should be"),
    ],
)
def test_a_damaged_file_is_rejected_in_one_sentence(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    path = written(tmp_path / "doorbell.safetensors", **changes)
    with pytest.raises(ModelFileError) as caught:
        read_taught(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)


def test_the_file_is_named_after_its_label(tmp_path: Path) -> None:
    path = tmp_path / "bell.safetensors"
    write_taught(path, TAUGHT)
    with pytest.raises(ModelFileError, match=r"named doorbell\.safetensors"):
        read_taught(path)
    assert read_taught_card(path) == CARD


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a file of tensors",
        (2**40).to_bytes(8, "little") + b"{}",
        save({"x": np.ones(2)}, {"format": "sound-monitor model 1"}),
        save({"x": np.ones(2)}, {KEY: "[" * 10_000}),
        bytes(MAX_BYTES + 1),
    ],
)
def test_another_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "label.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        read_taught(path)


def test_a_missing_file_and_a_folder_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no such file"):
        read_taught(tmp_path / "none")
    with pytest.raises(ModelFileError, match="is not a file"):
        read_taught(tmp_path)


def some_negatives() -> Negatives:
    rng = np.random.default_rng(5)
    card = NegativesCard(
        model="world",
        network="0" * 64,
        sounds=("cat", "rain"),
        places=("office", "street"),
        hop_seconds=5.0,
        licence="none",
    )
    kinds = np.array([0, 0, 1, 1, 1, 2, 3, 3, 3])
    return Negatives(card, rng.normal(0, 2, (9, 4)).astype(np.float32), kinds)


def test_negatives_are_read_as_they_were_written_but_for_a_step(tmp_path: Path) -> None:
    negatives = some_negatives()
    write_negatives(tmp_path / "n", negatives)
    found = read_negatives(tmp_path / "n")
    assert found.card == negatives.card
    np.testing.assert_array_equal(found.kinds, negatives.kinds)
    span = np.ptp(negatives.embeddings, axis=0)
    assert (np.abs(found.embeddings - negatives.embeddings) <= span / 500).all()


def test_negatives_know_their_names_and_times() -> None:
    negatives = some_negatives()
    assert [negatives.name_of(kind) for kind in (0, 1, 3)] == ["cat", "rain", "street"]
    assert negatives.seconds.tolist() == [0, 5, 0, 5, 10, 0, 0, 5, 10]
    assert negatives.hours == pytest.approx(20 / 3600)
    assert negatives.is_place.tolist() == [False] * 5 + [True] * 4


def test_negatives_lie_beside_their_model(tmp_path: Path) -> None:
    model = tmp_path / "own.safetensors"
    assert negatives_path(str(model)) == tmp_path / "own-negatives.safetensors"
