"""A teacher is any ONNX model with a waveform in and an embedding, logits or scores."""

import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.errors import UsageError
from tests.support.recordings import SMALL_SPEC, write_folders, write_negatives
from tests.support.teachers import write_teacher
from training.checkpoint import InterruptedTrainingError
from training.distill.target_cache import CachedBatches, TargetCache, build_target_cache
from training.distill.teacher import (
    CLASS_COUNT,
    CLASSES,
    Teacher,
    classes_of,
    fit_named_readout,
    fit_readout,
    named_weights,
)
from training.files import locked_folder
from training.mixtures.material import DataPaths, gather
from training.mixtures.mixtures import MixtureMaker
from training.recipes import training_settings

pytest.importorskip("onnx", reason="without the package onnx nothing teaches")
pytest.importorskip("onnxruntime")


@pytest.fixture(name="teacher", scope="module")
def _teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    folder = tmp_path_factory.mktemp("teacher")
    return Teacher(write_teacher(folder / "teacher.onnx"), 4000)


@pytest.fixture(name="maker", scope="module")
def _maker(tmp_path_factory: pytest.TempPathFactory) -> MixtureMaker:
    folder = tmp_path_factory.mktemp("recordings")
    settings = training_settings(
        {
            "spec": SMALL_SPEC.model_dump(),
            "folds": 3,
            "mixtures": {"ambience_items": 0.3, "two_sources": 0.3},
        },
        origin="test",
    )
    paths = DataPaths(
        write_folders(folder / "data", groups=3),
        folder / "cache",
        (write_negatives(folder / "noises"),),
    )
    material = gather(paths, settings, lambda *_: None)
    return material.maker(range(len(material.manifest.clips)), (3,), settings)


def build(
    folder: Path, maker: MixtureMaker, teacher: Teacher, stop_at: int | None = None
) -> TargetCache:
    stop = threading.Event()

    def advance(name: str, done: int, _: int) -> None:
        if stop_at is not None and done >= stop_at:
            stop.set()

    return build_target_cache(folder, maker, teacher, 30, 0, 0, stop, advance)


def test_scores_become_logits(tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "scores.onnx", ("scores",))
    outputs = Teacher(path, 4000).run(np.full(4000, 0.3, np.float32))
    assert outputs.embedding is None
    assert outputs.logits is not None
    scores = 1 / (1 + np.exp(-outputs.logits[0]))
    assert scores == pytest.approx(0.09 * np.array([4, 6, 8, 10]), rel=1e-4)


def test_a_model_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "other.onnx", ("probabilities",))
    with pytest.raises(UsageError, match="'embedding', 'logits' or 'scores'"):
        Teacher(path, 4000)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(UsageError, match=r"text\.onnx: is not an ONNX model") as caught:
        Teacher(path, 4000)
    assert "ONNXRuntimeError" not in str(caught.value)
    with pytest.raises(UsageError, match=r"none\.onnx: there is no such file"):
        Teacher(tmp_path / "none.onnx", 4000)


def test_the_teacher_hears_the_mixture_that_the_student_hears(
    tmp_path: Path, maker: MixtureMaker, teacher: Teacher
) -> None:
    cache = build(tmp_path, maker, teacher)
    clips = len(maker.clips)
    assert len(cache) == clips + 30
    made = maker.unaltered(4)
    outputs = teacher.run(teacher.waveform(made.full_scale, SMALL_SPEC.sample_rate))
    assert outputs.embedding is not None
    assert np.allclose(cache.embedding[4], outputs.embedding[0])


def test_an_interrupted_cache_is_completed_to_the_same(
    tmp_path: Path, maker: MixtureMaker, teacher: Teacher
) -> None:
    whole = build(tmp_path / "whole", maker, teacher)
    with pytest.raises(InterruptedTrainingError, match="of the target cache"):
        build(tmp_path / "torn", maker, teacher, stop_at=16)
    completed = build(tmp_path / "torn", maker, teacher)
    for name in ("log_mel", "activity", "origin", "embedding", "logits"):
        assert np.array_equal(getattr(whole, name), getattr(completed, name)), name


def test_a_cache_of_other_material_is_refused(
    tmp_path: Path, maker: MixtureMaker, teacher: Teacher
) -> None:
    build(tmp_path, maker, teacher)
    stop = threading.Event()
    with pytest.raises(UsageError, match="a target cache with another rows"):
        build_target_cache(tmp_path, maker, teacher, 31, 0, 0, stop, lambda *_: None)


def array_bytes(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_a_file_of_a_cache_that_was_cut_off_is_not_filled_with_zeros(
    tmp_path: Path, maker: MixtureMaker, teacher: Teacher
) -> None:
    build(tmp_path, maker, teacher)
    os.truncate(tmp_path / "log_mel.npy", 3000)
    with pytest.raises(UsageError, match=r"log_mel\.npy: is damaged"):
        build(tmp_path, maker, teacher)
    assert (tmp_path / "log_mel.npy").stat().st_size == 3000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("targets.json", b"{"),
        ("targets.json", b"[1]"),
        ("targets.json", b"{}"),
        ("targets.json", b"\xff"),
        ("embedding.npy", b""),
        ("done.npy", b"no array"),
        ("done.npy", array_bytes(np.uint8(1))),
        ("embedding.npy", array_bytes(np.zeros((5, 4), np.float32))),
        ("activity.npy", array_bytes(np.zeros((48, 3, 8), np.int16))),
        ("log_mel.npy", None),
        ("done.npy", None),
    ],
)
def test_a_damaged_cache_is_one_sentence(
    tmp_path: Path,
    maker: MixtureMaker,
    teacher: Teacher,
    name: str,
    content: bytes | None,
) -> None:
    build(tmp_path, maker, teacher)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"{name}: is damaged .*remove the folder"):
        build(tmp_path, maker, teacher)


def test_a_cache_that_is_being_made_is_waited_for(
    tmp_path: Path, maker: MixtureMaker, teacher: Teacher
) -> None:
    stop = threading.Event()
    stop.set()
    with (
        locked_folder(tmp_path, lambda: pytest.fail("nobody else is here")),
        pytest.raises(InterruptedTrainingError, match="another process"),
    ):
        build_target_cache(tmp_path, maker, teacher, 30, 0, 0, stop, lambda *_: None)
    assert not list(tmp_path.iterdir())


def test_no_window_with_a_fold_kept_apart_is_trained_on(
    tmp_path: Path, maker: MixtureMaker, teacher: Teacher
) -> None:
    cache = build(tmp_path, maker, teacher)
    rows = cache.rows([1], [2])
    assert 0 < len(rows) < len(cache)
    assert 1 not in cache.origin[rows, 0]
    assert 2 not in cache.origin[rows, 1]
    source = CachedBatches(cache, rows, clean_repeats=1, batch_size=8, seed=0)
    for batch in source.batches(0, 2):
        assert batch.log_mel.shape == (8, 1, 16, 64)
        assert batch.embedding is not None
        assert batch.soft is not None
        assert batch.soft.min() >= 0
        assert batch.soft.max() <= 1


def test_a_reading_finds_what_a_linear_rule_hid() -> None:
    r = np.random.default_rng(0)
    given = r.normal(3, 5, (500, 6)).astype(np.float32)
    present = (given @ r.normal(0, 1, (6, 2)) > 0).astype(np.float32)
    scores = fit_readout(given, present).scores(given)
    assert ((scores > 0.5) == (present > 0.5)).mean() > 0.97


def test_a_named_class_helps_where_recordings_are_few() -> None:
    """Six recordings, in which something else goes along with the label by chance."""
    r = np.random.default_rng(0)

    def windows(count: int, luck: float) -> tuple[np.ndarray, np.ndarray]:
        present = (r.random((count, 1)) < 0.5).astype(np.float32)
        given = r.normal(0, 1, (count, 30)).astype(np.float32)
        given[:, 12] += 2 * present[:, 0]  # the class of that name
        given[:, 20] += luck * present[:, 0]
        return given, present

    given, present = windows(6, luck=4)
    new, truth = windows(2000, luck=0)

    def accuracy(scores: np.ndarray) -> float:
        return float(((scores > 0.5) == (truth > 0.5)).mean())

    start = named_weights([(2,)], outputs=30, first=10)
    named = accuracy(fit_named_readout(given, present, start).scores(new))
    assert named > accuracy(fit_readout(given, present).scores(new)) + 0.05


def test_a_label_without_a_name_is_read_from_its_windows_alone() -> None:
    r = np.random.default_rng(0)
    given = r.normal(0, 1, (200, 8)).astype(np.float32)
    present = (given[:, :2] > 0).astype(np.float32)
    start = named_weights([(), (3,)], outputs=8, first=4)
    named, free = fit_named_readout(given, present, start), fit_readout(given, present)
    assert np.allclose(named.weight[0], free.weight[0], atol=1e-3)
    assert not np.allclose(named.weight[1], free.weight[1], atol=1e-3)


def test_labels_are_found_by_name_among_the_classes_of_audioset() -> None:
    assert classes_of(["siren", "my own"], CLASS_COUNT, None) == [CLASSES["siren"], ()]


def test_another_teacher_s_classes_mean_nothing_unless_they_are_named() -> None:
    assert classes_of(["siren"], 10, None) == [()]
    assert classes_of(["siren"], 10, {"siren": (4,), "else": (5,)}) == [(4,)]


def test_a_class_that_the_teacher_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="siren: the teacher has the outputs 0 to 9"):
        classes_of(["siren"], 10, {"siren": (3, 10)})
