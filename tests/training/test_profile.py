"""A profile divides the time of a training among its parts."""

import json
import threading
from pathlib import Path

import pytest
import yaml

from monitor.commands.app import run_command_line
from tests.support.recordings import SMALL_SPEC, write_folders
from training.profile import OTHER, profiling, timed, waiting


class Clock:
    """A clock that advances only in `spend`."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


def test_the_seconds_of_a_nested_part_count_for_that_part_only() -> None:
    clock = Clock()
    with profiling(clock=clock) as profile:
        clock.spend(1)
        with timed("outer"):
            clock.spend(2)
            with timed("inner"):
                clock.spend(8)
            clock.spend(2)
        facts = profile.facts()["process"]
    assert list(facts.items()) == [("inner", 8), ("outer", 4), (OTHER, 1)]


def test_a_part_that_raises_is_counted() -> None:
    clock = Clock()

    def fail() -> None:
        clock.spend(3)
        raise KeyError

    with profiling(clock=clock) as profile:
        with pytest.raises(KeyError), timed("broken"):
            fail()
        with timed("after"):
            clock.spend(1)
        assert profile.facts()["process"] == {"broken": 3, "after": 1, OTHER: 0}


def test_the_making_of_items_is_counted() -> None:
    clock = Clock()

    def slow(number: int) -> int:
        clock.spend(5)
        return number

    with profiling(clock=clock) as profile:
        for expected, item in enumerate(waiting("making", map(slow, range(3)))):
            assert item == expected
            clock.spend(1)
        assert profile.facts()["process"] == {"making": 15, OTHER: 3}


def test_the_seconds_of_other_threads_are_added_up() -> None:
    clock = Clock()

    def work(name: str, seconds: float) -> None:
        with timed(name):
            clock.spend(seconds)

    with profiling(clock=clock) as profile:
        for name, seconds in (("mel", 1.0), ("mel", 0.5), ("mixing", 2.0)):
            thread = threading.Thread(target=work, args=(name, seconds))
            thread.start()
            thread.join()
        facts = profile.facts()
    assert facts["workers"] == {"mixing": 2.0, "mel": 1.5}
    assert facts["process"] == {OTHER: 3.5}


def test_nothing_is_counted_without_a_profile() -> None:
    # One and the same object, whatever the part: nothing is made.
    assert timed("one") is timed("other")
    with profiling() as profile:
        assert profile.facts()["workers"] == {}


@pytest.mark.parametrize("workers", [0, 1])
def test_train_prints_a_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    write_folders(tmp_path / "data", groups=3)
    settings = {"spec": SMALL_SPEC.model_dump(), "folds": 3}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    words = ["train", str(tmp_path / "data"), "--epochs", "1", "--profile"]
    words += ["--out", str(tmp_path / "m.safetensors"), "--workers", str(workers)]
    words += ["--settings", str(tmp_path / "settings.yaml")]
    assert run_command_line([*words, "--cache", str(tmp_path / "cache")]) == 0
    printed = capsys.readouterr().err
    facts = json.loads((tmp_path / "m-run" / "profile.json").read_text())
    making = facts["workers"] if workers else facts["process"]
    parts = {"reading decoded sound", "mixing and augmentation of sound"}
    assert parts | {"mel front end"} <= set(making)
    assert {
        "decoding recordings",
        "waiting for windows",
        "augmentation of features",
        "forward",
        "backward",
        "optimiser",
        "evaluation",
    } <= set(facts["process"])
    assert "time of the thread that trains" in printed
    assert ("threads that make windows" in printed) == bool(workers)
    assert "worker" not in printed
    assert "forward" in printed
    assert bool(facts["workers"]) == bool(workers)
