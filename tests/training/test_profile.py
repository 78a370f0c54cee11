"""The time of a training is divided among its parts."""

import json
import time
from pathlib import Path

import pytest
import yaml

from monitor.commands.app import run_command_line
from tests.support.recordings import SMALL_SPEC, write_folders
from training.profile import (
    count_worker,
    is_profiling,
    profiling,
    seconds_of_worker,
    timed,
    waiting,
)


def spend(seconds: float) -> None:
    """Use the processor for so long."""
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        pass


def test_of_a_part_in_a_part_only_the_inner_one_counts() -> None:
    before = time.perf_counter()
    with profiling() as profile:
        with timed("outer"):
            spend(0.01)
            with timed("inner"):
                spend(0.03)
        facts = profile.facts()["process"]
    whole = time.perf_counter() - before
    assert facts["inner"] >= 0.03
    assert facts["outer"] >= 0.01
    assert sum(facts.values()) <= whole
    assert sum(facts.values()) == pytest.approx(whole, abs=0.02)
    assert list(facts.values()) == sorted(facts.values(), reverse=True)


def test_what_a_part_raises_is_counted_and_goes_on() -> None:
    with profiling() as profile:
        with pytest.raises(ZeroDivisionError), timed("broken"):
            spend(0.01 / 0)
        with timed("after"):
            spend(0.01)
        facts = profile.facts()["process"]
        assert "broken" in facts
        assert facts["after"] >= 0.01


def test_items_are_handed_on_and_their_making_is_counted() -> None:
    def slow(number: int) -> int:
        spend(0.005)
        return number

    with profiling() as profile:
        assert list(waiting("making", map(slow, range(3)))) == [0, 1, 2]
        assert profile.facts()["process"]["making"] >= 0.015


def test_what_the_workers_say_is_added_up() -> None:
    with profiling() as profile:
        count_worker({"mel": 1.0})
        count_worker({"mel": 0.5, "mixing": 2.0})
        count_worker(None)
        assert profile.facts()["workers"] == {"mixing": 2.0, "mel": 1.5}


def test_nothing_is_counted_while_nobody_asks() -> None:
    assert not is_profiling()
    # One and the same object, whatever the part: nothing is made.
    assert timed("one") is timed("other")
    assert seconds_of_worker() is None
    count_worker({"mel": 1.0})
    with profiling() as profile:
        assert profile.facts()["workers"] == {}
    assert not is_profiling()


@pytest.mark.parametrize("workers", [0, 1])
def test_train_shows_where_its_time_went(
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
    assert "time of the training process" in printed
    assert "forward" in printed
    assert bool(facts["workers"]) == bool(workers)
