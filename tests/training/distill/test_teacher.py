import pytest

from monitor.errors import UsageError
from training.distill.teacher import CLASS_COUNT, CLASSES, classes_of


def test_labels_are_found_by_name_among_the_classes_of_audioset() -> None:
    assert classes_of(["siren", "my own"], CLASS_COUNT, None) == [CLASSES["siren"], ()]


def test_another_teacher_s_classes_mean_nothing_unless_they_are_named() -> None:
    assert classes_of(["siren"], 10, None) == [()]
    assert classes_of(["siren"], 10, {"siren": (4,), "else": (5,)}) == [(4,)]


def test_a_class_that_the_teacher_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="siren: the teacher has the outputs 0 to 9"):
        classes_of(["siren"], 10, {"siren": (3, 10)})
