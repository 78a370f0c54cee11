"""Readers accept foreign data or reject it in a sentence, within time and memory.

The default run tries a few hundred examples; the long one takes ten minutes for each
target, or SOUND_MONITOR_FUZZ_SECONDS:

    pytest -m fuzz tests/fuzz
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS
from tests.support import ROOT
from tests.support.fuzzing import damaged, run, twisted

EXAMPLES = {
    "model": 60,
    "taught": 400,
    "config": 150,
    "records": 200,
    "flips": 40,
    "pipe": 400,
    "bundle": 400,
    "message": 2000,
}
SEED = 1
LONG_SECONDS = float(os.environ.get("SOUND_MONITOR_FUZZ_SECONDS", "600"))
MAX_MIB = 1500
"""Peak memory, most of it of torch and the models."""


@pytest.mark.parametrize("name", TARGETS)
def test_targets_accept_or_reject_a_few_hundred_examples(
    name: str, tmp_path: Path
) -> None:
    wanted = EXAMPLES[name]
    target = TARGETS[name](tmp_path)
    count, accepted, _ = run(target, SEED, lambda tried: tried < wanted)
    assert count == wanted
    # If all or none are accepted, the mutations reach only the first check.
    assert 0.02 * wanted < accepted < wanted


@pytest.mark.fuzz
@pytest.mark.timeout(LONG_SECONDS + 600)
@pytest.mark.parametrize("name", TARGETS)
def test_targets_accept_or_reject_many_examples_in_little_memory(name: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.support.fuzzing", name, str(LONG_SECONDS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-5000:]
    facts = json.loads(result.stdout)
    assert facts["peak_mib"] < MAX_MIB
    sys.stdout.write(f"{facts}\n")


def test_mutations_are_small_and_reproducible() -> None:
    data = bytes(range(256))
    first = [damaged(data, random.Random(seed)) for seed in range(200)]
    again = [damaged(data, random.Random(seed)) for seed in range(200)]
    assert first == again
    assert 10 < sum(each == data for each in first) < 60
    values = [twisted({"a": [1, 2.0]}, random.Random(seed)) for seed in range(50)]
    assert len({repr(value) for value in values}) > 20
