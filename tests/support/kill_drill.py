"""A store that is killed again and again: `python -m tests.support.kill_drill PATH N`.

Prints each line that a killed child had reported, after the store had taken it, as a
later sink would: `onset ID` or `event ID`.
"""

import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path

from tests.support.clock import FakeClock
from tests.support.store import AlertOnEverything, make_store
from tests.support.timed import event, frame, onset

MAX_SECONDS = 0.08


def store_until_killed(path: Path, run: str, reports: int) -> None:
    """Store and report until killed."""
    clock = FakeClock()
    store = make_store(path, clock, run=run, rules=AlertOnEverything())
    for number in count():
        name = f"{run}-{number}"
        clock.advance(0.5)
        store.write([frame(stop_seconds=5 + number / 2), onset(name, number=number)])
        report(reports, f"onset session-{name}-{number}")
        if number % 3:
            store.write([event(name, number=number)])
            report(reports, f"event session-{name}-{number}")


def report(reports: int, line: str) -> None:
    os.write(reports, f"{line}\n".encode())
    # The other sinks take their time: a kill would find records that are reported and
    # not stored.
    time.sleep(0.005)


def main(path: Path, rounds: int) -> None:
    generator = random.Random(1)
    for number in range(rounds):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            store_until_killed(path, f"run-{number}", writing)
        os.close(writing)
        # Now and then before it has opened the file, or while it does.
        first = os.read(reading, 4096) if number % 4 else b""
        time.sleep(generator.uniform(0, MAX_SECONDS))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as pipe:
            sys.stdout.write((first + pipe.read()).decode())
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
