"""The models of a configuration, with labels that were taught on them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.audio.timeline import Block
from monitor.config.config import Config
from monitor.errors import ConfigError, ModelFileError
from monitor.model.catalogue import known_labels
from monitor.model.classifier import Classifier
from monitor.model.model_file import Model, write_model
from monitor.records import ScoreFrame
from monitor.runtime.loading import choose_models, labels_of, load_models
from monitor.runtime.pipeline import build_pipeline
from tests.support.models import stored_model
from tests.support.signals import noise
from tests.support.taught import write_head


@pytest.fixture(scope="module")
def model() -> Model:
    return stored_model()


@pytest.fixture(scope="module")
def features(model: Model) -> int:
    return Classifier(model, "cpu").count_features()


@pytest.fixture
def model_file(model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_model(path, model)
    return path


def configured(**settings: Any) -> Config:
    return Config.model_validate(settings)


def test_a_taught_label_is_scored_by_its_model(
    model: Model, features: int, model_file: Path, tmp_path: Path
) -> None:
    write_head(tmp_path, "our_bell", features, "seeded", model.network_digest)
    config = configured(model={"file": str(model_file)}, labels=["siren", "our_bell"])
    chosen = choose_models(config, tmp_path)
    models = load_models(config.model, chosen)
    assert models.labels == ("siren", "drilling", "gun_shot", "our_bell")
    records = build_pipeline(config, models, "test", chosen).process(
        [(each.name, Block(0, noise(6, 0.1))) for each in config.sources]
    )
    frames = [it for it in records if isinstance(it, ScoreFrame)]
    assert frames
    assert all(0 < frame.scores[3] < 1 for frame in frames)


def test_a_taught_label_with_a_wrong_number_of_weights_is_refused(
    model: Model, features: int, model_file: Path, tmp_path: Path
) -> None:
    """It would fail at its first window."""
    write_head(tmp_path, "our_bell", features - 1, "seeded", model.network_digest)
    config = configured(model={"file": str(model_file)}, labels=["siren", "our_bell"])
    chosen = choose_models(config, tmp_path)
    with pytest.raises(ModelFileError, match=rf"has {features - 1} weights, and the"):
        load_models(config.model, chosen)


def test_labels_to_calibrate_are_those_that_the_model_itself_scores(
    tmp_path: Path,
) -> None:
    write_head(tmp_path, "our_bell", 8, "world")
    settings = {"models": ["urban", "world"]}
    own = {"labels": ["siren", "speech", "our_bell"], **settings}
    assert labels_of(configured(**own), "world", tmp_path) == ("speech",)
    # Without a catalogue, all of its classes; the siren is scored by the first model.
    urban = labels_of(configured(**own), "urban", tmp_path)
    assert "siren" in urban
    assert "speech" not in urban
    world = labels_of(configured(**settings), "world", tmp_path)
    assert world
    assert not {*world} & {*urban}
    for labels in (["siren"], ["siren", "our_bell"]):
        with pytest.raises(ConfigError, match="none of them is a label that world"):
            labels_of(configured(labels=labels, **settings), "world", tmp_path)


OWN = {"onset_threshold": 0.9}


@pytest.mark.parametrize(
    ("models", "label"),
    [
        (["urban", "world"], "drilling"),
        (["urban", "world"], "speech"),  # of a model that then does not listen
        (["urban"], "our_bell"),  # taught
    ],
)
def test_settings_of_a_label_that_is_switched_off_are_allowed(
    models: list[str], label: str, tmp_path: Path
) -> None:
    write_head(tmp_path, "our_bell", 8, "world")
    settings = {"models": models, "labels": ["siren"]}
    config = configured(detection={"labels": {label: OWN}}, **settings)
    chosen = choose_models(config, tmp_path)
    assert chosen.files == ("urban",)
    build_pipeline(config, load_models(config.model, chosen), "test", chosen)
    wrong = configured(detection={"labels": {f"{label}x": OWN}}, **settings)
    chosen = choose_models(wrong, tmp_path)
    with pytest.raises(ConfigError, match=f"{label}x"):
        build_pipeline(wrong, load_models(wrong.model, chosen), "test", chosen)


def test_world_listens_for_its_embeddings_alone() -> None:
    """Labels can be taught on what was heard, although none of its own is chosen."""
    settings = {"models": ["urban", "world"], "labels": ["siren"]}
    config = configured(store={"embeddings": True}, **settings)
    assert choose_models(configured(**settings)).files == ("urban",)
    chosen = choose_models(config)
    assert chosen.files == ("urban", "world")
    assert chosen.labels.scored[1].labels == ()
    models = load_models(config.model, chosen)
    records = build_pipeline(config, models, "test", chosen).process(
        [(each.name, Block(0, noise(6, 0.1))) for each in config.sources]
    )
    frames = [it for it in records if isinstance(it, ScoreFrame)]
    assert frames
    features = models.members[1].classifier.count_features()
    for frame in frames:
        assert len(frame.scores) == len(known_labels(chosen.cards[0]))
        assert frame.embedding is not None
        assert np.shape(frame.embedding) == (features,)
