"""The command line of a monitor whose analysis hangs; its first argument says how."""

import itertools
import re
import sys
import time
from collections.abc import Callable

from monitor.__main__ import main
from monitor.runtime.worker import Worker

STEPS = 1


def analysis_that_waits() -> None:
    time.sleep(600)


def analysis_that_keeps_the_interpreter() -> None:
    re.match("(a+)+$", "a" * 40 + "b")


HANGS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (analysis_that_waits, analysis_that_keeps_the_interpreter)
}

if __name__ == "__main__":
    hang, step, count = HANGS[sys.argv.pop(1)], Worker.step, itertools.count()

    def hanging(worker: Worker) -> None:
        if next(count) >= STEPS:
            hang()
        step(worker)

    Worker.step = hanging
    main()
