"""Memory of the daemon, once the rings are full and a canary has run."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from monitor.runtime.daemon import TRIM_SECONDS
from monitor.runtime.drills.monitor_process import children
from monitor.sinks.status_client import query_status
from tests.support.daemon import RunningMonitor
from tests.support.source_programs import program

pytestmark = pytest.mark.benchmark

MIB = 2**20
MOST_MIB = 120
MOST_SOURCE_MIB = 6
MOST_CHILD_MIB = 5
MANY = 9
SETTLED_SECONDS = TRIM_SECONDS + 15
MOST_SECONDS = 120.0

NOISE = """
until = time.monotonic()
while True:
    put(os.urandom(8820))
    until += 0.1
    time.sleep(max(0.0, until - time.monotonic()))
"""


def started(folder: Path, sources: int) -> RunningMonitor:
    folder.mkdir()
    path = folder / "config.yaml"
    command = f"command:{program(NOISE)}"
    settings = {
        "sources": [{"name": f"s{n}", "input": command} for n in range(sources)],
        "status": {"socket": "status.sock"},
    }
    path.write_text(json.dumps(settings))
    return RunningMonitor(folder, "--config", str(path))


def status(monitor: RunningMonitor) -> dict[str, Any]:
    return query_status([monitor.state_dir / "status.sock"])


def is_settled(monitor: RunningMonitor) -> bool:
    sources = status(monitor).get("sources", [])
    return any(source["canary"] for source in sources) and all(
        (source["captured_seconds"] or 0) > SETTLED_SECONDS for source in sources
    )


def private_mib(pid: int) -> float:
    """Memory that the end of a process would give back."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(ln.split()[1]) for ln in rollup if ln.startswith("Private")) / 1024


@pytest.mark.timeout(2 * MOST_SECONDS)
def test_memory_with_one_source_and_of_each_further_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        one, many = monitors = [
            stack.enter_context(started(tmp_path / str(count), count))
            for count in (1, MANY)
        ]
        for monitor in monitors:
            monitor.wait_until(is_settled, MOST_SECONDS)
        taken = status(one)["process"]["rss_bytes"] / MIB
        each = (status(many)["process"]["rss_bytes"] / MIB - taken) / (MANY - 1)
        (child,) = map(private_mib, children(one.process.pid))
    found = f"{taken:.1f} MiB, {each:.2f} a source, {child:.1f} of its child process"
    with capsys.disabled():
        sys.stdout.write(f"\nmemory: {found}\n")

    assert taken <= MOST_MIB, found
    assert each <= MOST_SOURCE_MIB, found
    assert child <= MOST_CHILD_MIB, found
