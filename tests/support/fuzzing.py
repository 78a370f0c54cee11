"""Fuzzing: foreign data, made from valid examples by small mutations.

    python -m tests.support.fuzzing TARGET SECONDS [SEED]

runs a target for that time with limited memory, and prints the number of examples.
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

MAX_CPU_SECONDS = 10.0
"""For one example; a hundred times the slowest."""

INTERESTING = (
    b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\n", b"\x1b[2J", b"[",
    b"{", b'"', b"}" , b"]", b":", b",", b"-", b"- ", b"  ", b"\t", b"!!x ", b"&a ",
    b"*a", b"?", b"|", b">", b"~", b"null", b"true", b"-1", b"0", b"1e999", b"9" * 40,
    b"9" * 5000, b"1e-300", b"NaN", b"Infinity", b"\\ud800", b"\\u0000", b"../", b"$",
    b"\xe2\x80\xae", b"[" * 500, b"x" * 3000,
)  # fmt: skip


class Target(Protocol):
    """A reader of foreign data."""

    def make(self, rng: random.Random) -> object:
        """Make an example."""

    def try_out(self, example: object) -> bool:
        """Read an example; return whether it was accepted.

        Raises:
            Exception: The reader neither accepts it nor rejects it in one sentence.
        """


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with a few small mutations, or none."""
    content = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(content) + 1)
        match rng.randrange(7):
            case 0 if content:
                content[place % len(content)] ^= 1 << rng.randrange(8)
            case 1:
                content[place:place] = rng.choice(INTERESTING)
            case 2:
                word = rng.choice(INTERESTING)
                content[place : place + len(word)] = word
            case 3:
                del content[place : place + rng.choice((1, 2, 5, 50))]
            case 4:
                del content[place:]
            case 5:
                other = rng.randrange(len(content) + 1)
                content[place:place] = content[other : other + rng.randrange(60)]
            case _:
                content[place:place] = rng.randbytes(rng.choice((1, 2, 4, 8)))
    return bytes(content)


ODD_VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 16, 64, 1000, 2**31, 2**63, 10**30, 10**400, 0.5,
    -0.5, 1e-300, 1e300, 1e999, "", "x", "a\x1b[2J", "\ud800", "x" * 1000, [], [[]], {},
    {"a": 1}, [1, 2], "siren", "../x", float("nan"),
)  # fmt: skip


def twisted(value: object, rng: random.Random) -> object:
    """Return a JSON value with one part replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        copy = dict(value)
        if rng.random() < 0.1:
            del copy[key]
        elif rng.random() < 0.1:
            copy[str(rng.choice(ODD_VALUES))] = value[key]
        else:
            copy[key] = twisted(value[key], rng)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.7:
        index = rng.randrange(len(value))
        return [*value[:index], twisted(value[index], rng), *value[index + 1 :]]
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 2**20)) * rng.choice((1, 1, 10**6))
    if isinstance(value, float) and rng.random() < 0.5:
        return value * rng.choice((-1, 0, 2, 1e6, 1e-6, 1e300))
    return rng.choice(ODD_VALUES)


def one_sentence(error: Exception, longest: int = 600) -> None:
    """Check that an error is readable on a terminal."""
    text = str(error)
    assert text, "empty message"
    for sentence in text.splitlines():
        assert len(sentence) <= longest, f"{len(sentence)} characters"
    assert "Traceback" not in text


def run(
    target: Target, seed: int, proceed: Callable[[int], bool]
) -> tuple[int, int, float]:
    """Try examples while `proceed(count)` is true.

    Returns:
        Number of examples, number accepted, and CPU seconds of the slowest.
    """
    rng = random.Random(seed)
    accepted = count = 0
    slowest = 0.0
    while proceed(count):
        example = target.make(rng)
        began = time.process_time()
        try:
            accepted += target.try_out(example)
        except BaseException:
            shown = repr(example)
            sys.stderr.write(f"seed {seed}, example {count}: {shown[:3000]}\n")
            raise
        seconds = time.process_time() - began
        slowest = max(slowest, seconds)
        assert seconds < MAX_CPU_SECONDS, f"example {count} took {seconds:.1f} s"
        count += 1
    return count, accepted, slowest


def main() -> None:
    """Run a target for a number of seconds."""
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
