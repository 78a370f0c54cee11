"""`python -m training.world.build` answers what it cannot use in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.model.card import read_card
from monitor.model.model_file import load_model
from monitor.model.trained import network_of
from tests.support.places import write_places
from tests.support.teachers import write_teacher
from training.data.tables import TableError
from training.world import build
from training.world.catalogue import read_catalogue
from training.world.network import label_of, read_classes

pytest.importorskip("onnx", reason="without the package onnx no teacher is read")


def write_classes(path: Path) -> Path:
    """The table of classes that the catalogue is made for."""
    named = {
        label_of(name): name
        for entry in read_catalogue().values()
        for name in entry.classes
    }
    names = [named.get(label, label) for label in read_card("world").card.labels]
    rows = [f'{index},"{name}"' for index, name in enumerate(names)]
    path.write_text("\n".join(["index,display_name", *rows]))
    return path


def write_onnx(path: Path, **shapes: tuple[int, ...]) -> Path:
    """An ONNX file with weights of some names, in which `__` stands for a dot."""
    import onnx

    weights = [
        onnx.numpy_helper.from_array(
            np.zeros(shape, np.float32), name.replace("__", ".")
        )
        for name, shape in shapes.items()
    ]
    graph = onnx.helper.make_graph([], "none", [], [], weights)
    onnx.save(onnx.helper.make_model(graph), str(path))
    return path


def write_clips(folder: Path, label: str) -> Path:
    (folder / label).mkdir(parents=True)
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    soundfile.write(folder / label / "1.wav", noise, 16_000)
    return folder


@pytest.fixture(name="given")
def _given(tmp_path: Path) -> dict[str, Path]:
    """Arguments that fail nowhere before the teacher is read."""
    return {
        "teacher": tmp_path / "none.onnx",
        "classes": write_classes(tmp_path / "classes.csv"),
        "places": write_places(tmp_path / "places"),
        "cache": tmp_path / "cache",
        "out": tmp_path / "world.safetensors",
        "clips": write_clips(tmp_path / "clips", "clock_alarm"),
    }


def sentence(given: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> str:
    """Build, which must fail; return the sentence."""
    arguments = [f"--{name}={path}" for name, path in given.items()]
    assert build.main(arguments) in (1, 2)
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    assert not given["out"].is_file()
    return last


def test_a_teacher_that_is_another_file_is_rejected(
    given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (garbage := tmp_path / "garbage.onnx").write_bytes(b"garbage")
    first = "m__features__0__0__weight"
    wrong = {first: (3, 3), "m__features__0__0__weight_bias": (3,)}
    head = {"m__classifier__2__weight": (8, 384), "m__classifier__2__bias": (8,)}
    for teacher, words in [
        (tmp_path / "none.onnx", "No such file"),
        (tmp_path, "is not an ONNX model"),
        (garbage, "is not an ONNX model"),
        (write_teacher(tmp_path / "t.onnx"), "has not the weights of mn04_as"),
        (write_onnx(tmp_path / "a.onnx", **wrong), "other weights than mn04_as"),
        (write_onnx(tmp_path / "b.onnx", **wrong, **head), "m.classifier.5.weight"),
    ]:
        assert words in sentence({**given, "teacher": teacher}, capsys)


def test_wrong_tables_folders_and_files_are_rejected(
    given: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The weights of the teacher are those of the included model.
    shipped = network_of(load_model("world"))
    monkeypatch.setattr(build, "read_network", lambda path, classes: shipped)
    (empty := tmp_path / "empty").mkdir()
    (other := tmp_path / "other.csv").write_text("name\nSpeech\n")
    lacking = given["classes"].read_text().replace('"Speech"', '"Talk"')
    (renamed := tmp_path / "renamed.csv").write_text(lacking)
    none = tmp_path / "none"
    for name, path, words in [
        ("classes", none, "cannot be read"),
        ("classes", other, "there is no column 'display_name'"),
        ("classes", renamed, "the table lacks the class 'Speech'"),
        ("clips", none, "no such folder"),
        ("clips", empty, "no usable recording"),
        ("clips", write_clips(tmp_path / "odd", "ufo"), "--clips: none of ufo is"),
        ("places", none, "no such folder of places"),
        ("places", other, "there is no column 'path'"),
        ("places", empty, "names no recording"),
        ("places", write_places(tmp_path / "few", 3), "3 different places, too few"),
        ("cache", other, "--cache: the folder"),
        ("out", empty, "is a folder"),
    ]:
        assert words in sentence({**given, name: path}, capsys)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Speech", "speech"),
        ("Smoke detector, smoke alarm", "smoke_detector_smoke_alarm"),
        ("Police car (siren)", "police_car_siren"),
        ("Children's playing", "children_s_playing"),
    ],
)
def test_names_of_classes_become_labels(tmp_path: Path, name: str, label: str) -> None:
    path = tmp_path / "classes.csv"
    path.write_text(f'index,mid,display_name\n0,/m/0,"{name}"\n1,/m/1,Dog\n')
    assert read_classes(path) == {name: label, "Dog": "dog"}


def test_classes_with_the_same_label_are_rejected(tmp_path: Path) -> None:
    (path := tmp_path / "classes.csv").write_text("display_name\nA dog\nA (dog)\n")
    with pytest.raises(TableError, match=r"line 3: .* no label of its own"):
        read_classes(path)


def test_the_table_of_the_shipped_model_is_read(tmp_path: Path) -> None:
    found = read_classes(write_classes(tmp_path / "classes.csv"))
    assert tuple(found.values()) == read_card("world").card.labels
