"""The check of an installed bundle, by the real command in a child process."""

from pathlib import Path
from threading import Event

import pytest

from monitor.runtime.bundle_check import check_installed


@pytest.mark.parametrize(
    ("seconds", "problem"), [(0.0, "its check took longer than 0 s"), (100.0, "")]
)
def test_a_check_that_takes_too_long_is_a_problem_of_its_bundle(
    seconds: float, problem: str, tmp_path: Path
) -> None:
    check = check_installed({"HOME": str(tmp_path)}, seconds)
    assert check(1, Event()) == problem
