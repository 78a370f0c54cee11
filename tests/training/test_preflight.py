"""What would fail, or mean nothing, after hours of training is said before."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import DatasetError, ModelFileError, UsageError
from monitor.model.model_file import ModelCard
from monitor.model.networks import Network
from tests.support.recordings import SMALL_SPEC
from training.config import TrainingSettings
from training.data.decoded import ClipStore
from training.data.manifest import NO_FOLD, Clip, Manifest
from training.data.places import Places
from training.evaluate.out_of_fold import Calibration
from training.files import check_out
from training.mixtures.material import DataPaths, Material
from training.preflight import (
    check_material,
    check_model_file,
    check_places,
    load_teacher,
)
from training.recipes import training_settings


def settings_of(**changes: Any) -> TrainingSettings:
    return training_settings({"spec": SMALL_SPEC.model_dump()}, changes, origin="test")


def material_of(*clips: tuple[str, int], count: int = 10) -> Material:
    """`count` clips for each pair of label and fold, each a recording."""
    labels = tuple(sorted({label for label, _ in clips}))
    made = [
        Clip(Path(f"{label}{fold}{n}"), labels.index(label), f"{label}{fold}{n}", fold)
        for label, fold in clips
        for n in range(count)
    ]
    manifest = Manifest(labels, tuple(made), has_folds=True)
    store = ClipStore.__new__(ClipStore)  # nothing is read from it
    return Material(manifest, store, None, None)


def test_a_name_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; name a file"):
        check_out(tmp_path)
    with pytest.raises(UsageError, match="nowhere does not exist"):
        check_out(tmp_path / "nowhere" / "m.safetensors")
    with pytest.raises(UsageError, match="cannot name a model: it holds"):
        check_out(tmp_path / "a\tb.safetensors")
    with pytest.raises(UsageError, match="/dev/null is not a file"):
        check_out(Path("/dev/null"))
    check_out(tmp_path / "my model (2).safetensors")


@pytest.mark.parametrize(
    ("preset", "negatives", "cross_validate", "rule"),
    [
        ("article", ("n",), True, "article does not know .* choose --preset mobile"),
        ("mobile", (), True, "--places needs --negatives too"),
        ("mobile", ("n",), False, "--places needs a test"),
    ],
)
def test_places_that_no_network_could_learn_from_are_refused(
    preset: str, negatives: tuple[str, ...], cross_validate: bool, rule: str
) -> None:
    paths = DataPaths(
        Path("d"), Path("c"), tuple(map(Path, negatives)), places=(Path("p"),)
    )
    settings = settings_of(preset=preset)
    with pytest.raises(UsageError, match=rule):
        check_places(paths, settings, cross_validate)
    check_places(replace(paths, places=()), settings, cross_validate)


def test_a_teacher_is_missed_where_the_network_needs_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert load_teacher(None, settings_of()) is None
    assert not caplog.records
    assert load_teacher(None, settings_of(preset="mobile")) is None
    assert "the network mobile begins with random weights" in caplog.text


def test_a_path_without_places_and_a_pattern_are_refused_before_the_work(
    tmp_path: Path,
) -> None:
    paths = DataPaths(
        tmp_path / "d", tmp_path / "c", (tmp_path / "n",), places=(tmp_path,)
    )
    settings = settings_of(preset="mobile")
    with pytest.raises(DatasetError, match="names no recording"):
        check_places(paths, settings, True)
    (tmp_path / "one.wav").touch()
    check_places(paths, settings, True)
    with pytest.raises(UsageError, match="is not a regular expression"):
        check_places(replace(paths, place_pattern="("), settings, True)


def card_of(labels: tuple[str, ...], licence: str = "") -> Any:
    def make(_: Network, calibration: Calibration, report: dict[str, Any]) -> ModelCard:
        found = zip(labels, calibration.card_thresholds(), strict=True)
        return ModelCard(
            name="m",
            preset="article",
            labels=labels,
            thresholds=dict(found),
            report=report,
            licence=licence,
        )

    return make


def test_the_model_file_is_written_and_read_before_the_training(
    tmp_path: Path,
) -> None:
    settings, out = settings_of(), tmp_path / "m.safetensors"
    labels = ("dog bark (big)", "[bold] $1$", "犬")
    check_model_file(out, settings, labels, card_of(labels))
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"could not be stored: licence: .* 10000"):
        check_model_file(out, settings, labels, card_of(labels, "x" * 10_001))
    with pytest.raises(ModelFileError, match="no/m: cannot be written"):
        check_model_file(tmp_path / "no" / "m", settings, labels, card_of(labels))
    many = tuple(f"label {n}" for n in range(900))
    with pytest.raises(ModelFileError, match="could not be read: labels, figures"):
        check_model_file(out, settings, many, card_of(many))
    assert not list(tmp_path.iterdir())


def test_a_model_file_with_curves_is_larger(tmp_path: Path) -> None:
    settings, out = settings_of(), tmp_path / "m.safetensors"
    labels = tuple(f"label {n}" for n in range(250))
    check_model_file(out, settings, labels, card_of(labels))
    clips = tuple(Clip(Path(f"place{n}.wav"), None, f"p{n}", 0) for n in range(9))
    places = Places(clips, ClipStore.__new__(ClipStore))
    with pytest.raises(ModelFileError, match=r"take .* bytes, of at most"):
        check_model_file(out, settings, labels, card_of(labels), places)
    check_model_file(out, settings, labels[:100], card_of(labels[:100]), places)


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(DatasetError, match="one label only, 'a'"):
        check_material(material_of(("a", 1), ("a", 2)), settings_of(), False)


def test_a_label_that_cannot_be_learned_is_refused() -> None:
    material = material_of(("a", 1), ("a", 2), ("b", 2), ("b", 3), ("owl", 1))
    chosen = settings_of(test_folds=(1,))
    with pytest.raises(DatasetError, match="none to learn from: owl;"):
        check_material(material, chosen, False)
    check_material(material, settings_of(test_folds=(2,)), False)


def test_a_cross_validation_that_would_fail_later_fails_first() -> None:
    material = material_of(("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3))
    with pytest.raises(DatasetError, match="fold 3 cannot both validate and test"):
        check_material(material, settings_of(validation_folds=(3,)), True)


def test_a_test_that_says_little_is_said(caplog: pytest.LogCaptureFixture) -> None:
    pairs = (("a", 1), ("b", 2), ("a", 2), ("b", NO_FOLD))
    check_material(material_of(*pairs), settings_of(test_folds=(1,)), False)
    assert "labels without a clip in the test: b" in caplog.text
    assert "the test has 10 clips of 10 recordings" in caplog.text
    assert "by up to 31 points" in caplog.text
    caplog.clear()
    check_material(material_of(*pairs, count=40), settings_of(test_folds=(2,)), False)
    assert not caplog.text


def test_recordings_in_several_folds_are_said(caplog: pytest.LogCaptureFixture) -> None:
    material = material_of(("a", 1), ("b", 1), ("a", 2), ("b", 2), count=40)
    torn = [replace(clip, group=clip.group[0]) for clip in material.manifest.clips]
    manifest = replace(material.manifest, clips=tuple(torn))
    material = replace(material, manifest=manifest)
    chosen = settings_of(test_folds=(1,))
    check_material(material, chosen, False)
    assert "2 recordings have clips in several folds, such as a" in caplog.text
    caplog.clear()
    check_material(material, chosen.model_copy(update={"split": "random"}), False)
    assert "several folds" not in caplog.text
