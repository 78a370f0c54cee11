"""Fuzzing: what strangers may send, made of sound examples by small damages.

    python -m tests.support.fuzzing TARGET SECONDS [SEED]

runs a target for so long, in little memory, and prints how many examples were tried.
"""

import json
import logging
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

MEMORY_BYTES = 4 * 2**30
"""Address space of a run; torch reserves most of it and uses a tenth."""

SLOWEST_SECONDS = 10.0
"""Of the process, for one example; a hundred times of what the slowest takes."""

INTERESTING = (
    b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\n", b"\x1b[2J", b"[",
    b"{", b'"', b"}" , b"]", b":", b",", b"-", b"- ", b"  ", b"\t", b"!!x ", b"&a ",
    b"*a", b"?", b"|", b">", b"~", b"null", b"true", b"-1", b"0", b"1e999", b"9" * 40,
    b"9" * 5000, b"1e-300", b"NaN", b"Infinity", b"\\ud800", b"\\u0000", b"../", b"$",
    b"\xe2\x80\xae", b"[" * 500, b"x" * 3000,
)  # fmt: skip


class Target(Protocol):
    """What is fuzzed."""

    def make(self, chance: random.Random) -> object:
        """An example."""

    def try_out(self, example: object) -> bool:
        """Whether the example was accepted; a refusal in one sentence is expected.

        Raises:
            Exception: Anything else, which is a finding.
        """


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few small damages."""
    content = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(content) + 1)
        match chance.randrange(7):
            case 0 if content:
                content[place % len(content)] ^= 1 << chance.randrange(8)
            case 1:
                content[place:place] = chance.choice(INTERESTING)
            case 2:
                word = chance.choice(INTERESTING)
                content[place : place + len(word)] = word
            case 3:
                del content[place : place + chance.choice((1, 2, 5, 50))]
            case 4:
                del content[place:]
            case 5:
                other = chance.randrange(len(content) + 1)
                content[place:place] = content[other : other + chance.randrange(60)]
            case _:
                content[place:place] = chance.randbytes(chance.choice((1, 2, 4, 8)))
    return bytes(content)


ODD_VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 16, 64, 1000, 2**31, 2**63, 10**30, 10**400, 0.5,
    -0.5, 1e-300, 1e300, 1e999, "", "x", "a\x1b[2J", "\ud800", "x" * 1000, [], [[]], {},
    {"a": 1}, [1, 2], "siren", "../x", float("nan"),
)  # fmt: skip


def twisted(value: object, chance: random.Random) -> object:
    """A JSON value in which one of its parts is another one."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        copy = dict(value)
        if chance.random() < 0.1:
            del copy[key]
        elif chance.random() < 0.1:
            copy[str(chance.choice(ODD_VALUES))] = value[key]
        else:
            copy[key] = twisted(value[key], chance)
        return copy
    if isinstance(value, list) and value and chance.random() < 0.7:
        index = chance.randrange(len(value))
        return [*value[:index], twisted(value[index], chance), *value[index + 1 :]]
    if isinstance(value, int) and chance.random() < 0.5:
        return value + chance.choice((-1, 1, 2**20)) * chance.choice((1, 1, 10**6))
    if isinstance(value, float) and chance.random() < 0.5:
        return value * chance.choice((-1, 0, 2, 1e6, 1e-6, 1e300))
    return chance.choice(ODD_VALUES)


def one_sentence(error: Exception, longest: int = 600) -> None:
    """Check that an error says what is wrong to a person, on a terminal."""
    text = str(error)
    assert text, "says nothing"
    for sentence in text.splitlines():
        assert len(sentence) <= longest, f"{len(sentence)} characters"
    assert "Traceback" not in text


def run(
    target: Target, seed: int, proceed: Callable[[int], bool]
) -> tuple[int, int, float]:
    """Try examples as long as `proceed` says so of their number.

    Returns:
        Examples, how many of them were accepted, and the seconds of the slowest.
    """
    chance = random.Random(seed)
    accepted = count = 0
    slowest = 0.0
    while proceed(count):
        example = target.make(chance)
        began = time.process_time()
        try:
            accepted += target.try_out(example)
        except BaseException:
            shown = repr(example)
            sys.stderr.write(f"seed {seed}, example {count}: {shown[:3000]}\n")
            raise
        seconds = time.process_time() - began
        slowest = max(slowest, seconds)
        assert seconds < SLOWEST_SECONDS, f"example {count} took {seconds:.1f} s"
        count += 1
    return count, accepted, slowest


def main() -> None:
    """Run a target for so many seconds of time on the wall."""
    from tests.fuzz.targets import TARGETS

    name, seconds = sys.argv[1], float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else time.time_ns()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))
        until = time.monotonic() + seconds
        count, accepted, slowest = run(target, seed, lambda _: time.monotonic() < until)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    facts = {
        "target": name, "seed": seed, "examples": count, "accepted": accepted,
        "slowest_cpu_seconds": round(slowest, 3), "peak_mib": peak,
    }  # fmt: skip
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
