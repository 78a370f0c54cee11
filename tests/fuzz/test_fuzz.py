"""What strangers may send is taken or refused in a sentence, in time and in memory.

The ordinary suite tries a few hundred examples; the long form, for one target after
the other, ten minutes each unless SOUND_MONITOR_FUZZ_SECONDS says otherwise:

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

EXAMPLES = {"model": 60, "config": 150, "records": 200, "pipe": 400}
SEED = 1
LONG_SECONDS = float(os.environ.get("SOUND_MONITOR_FUZZ_SECONDS", "600"))
MOST_MIB = 1500
"""Of memory; torch and the models have most of it."""


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_examples(name: str, tmp_path: Path) -> None:
    wanted = EXAMPLES[name]
    target = TARGETS[name](tmp_path)
    count, accepted, _ = run(target, SEED, lambda tried: tried < wanted)
    assert count == wanted
    # Damage that is always, or never, noticed looks at nothing but the first check.
    assert 0.02 * wanted < accepted < wanted


@pytest.mark.fuzz
@pytest.mark.timeout(LONG_SECONDS + 600)
@pytest.mark.parametrize("name", TARGETS)
def test_many_examples_in_little_memory(name: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.support.fuzzing", name, str(LONG_SECONDS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-5000:]
    facts = json.loads(result.stdout)
    assert facts["peak_mib"] < MOST_MIB
    sys.stdout.write(f"{facts}\n")


def test_a_damage_is_small_and_can_be_repeated() -> None:
    sound = bytes(range(256))
    first = [damaged(sound, random.Random(seed)) for seed in range(200)]
    again = [damaged(sound, random.Random(seed)) for seed in range(200)]
    assert first == again
    assert 10 < sum(each == sound for each in first) < 60
    values = [twisted({"a": [1, 2.0]}, random.Random(seed)) for seed in range(50)]
    assert len({repr(value) for value in values}) > 20
