"""One heap serves all threads, and what was freed goes back to the system."""

import subprocess
import sys

import numpy as np
import pytest

from monitor.memory import resident_bytes, trim_heap

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the heap of other systems is left as it is"
)

MIB = 2**20


def test_memory_that_is_filled_is_counted() -> None:
    before = resident_bytes()
    filled = np.ones(64 * MIB // 8)
    after = resident_bytes()

    assert before is not None
    assert after is not None
    assert after - before > 48 * MIB
    assert filled[-1] == 1


def test_free_memory_between_blocks_in_use_goes_back() -> None:
    # Of every other block, all of them too small for pages of their own.
    blocks = [np.ones(16_384) for _ in range(1000)]
    in_use = blocks[::2]
    del blocks
    before = resident_bytes()
    trim_heap()
    after = resident_bytes()

    assert before is not None
    assert after is not None
    assert before - after > 32 * MIB
    assert len(in_use) == 500


_THREADS = """
import sys, threading
from itertools import pairwise
from monitor.memory import share_heap
if sys.argv[1] == "shared":
    share_heap()
barrier = threading.Barrier(9)
def hold():
    block = bytes(100_000)
    barrier.wait()
    barrier.wait()
for _ in range(8):
    threading.Thread(target=hold, daemon=True).start()
barrier.wait()
# The heap of a thread is a mapping of 64 MiB, only the beginning of which is writable.
lines = [line.split() for line in open("/proc/self/maps")]
maps = [([int(at, 16) for at in line[0].split("-")], line[1]) for line in lines]
print(sum(
    (mode, next_mode) == ("rw-p", "---p") and stop == next_start
    and next_stop - start == 2**26
    for ((start, stop), mode), ((next_start, next_stop), next_mode) in pairwise(maps)
))
barrier.wait()
"""


@pytest.mark.parametrize("heap", ["shared", "own"])
def test_threads_share_one_heap(heap: str) -> None:
    heaps = subprocess.run(
        [sys.executable, "-c", _THREADS, heap],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert (int(heaps.stdout) == 0) == (heap == "shared")
