"""Cost of the web page: its memory, and its processor time for viewers and none."""

import contextlib
import http.client
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import RunningMonitor

pytestmark = pytest.mark.benchmark

MOST_MIB = 60
MOST_CORE = 0.01
MOST_IDLE_CORE = 0.001
VIEWERS = 5
SETTLED_SECONDS, MEASURED_SECONDS = 3.0, 15.0
START_SECONDS = 30.0

PAGES = ("/", "/events", "/thresholds", "/system", "/static/style.css")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def page(tmp_path: Path, port: int) -> Iterator[psutil.Process]:
    """The process of the page, beside a monitor of the demo."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f"web: {{listen: '127.0.0.1:{port}'}}\nstatus: {{socket: status.sock}}\n"
    )
    arguments = ("--web", "--config", str(config), "--input", "demo:")
    with RunningMonitor(tmp_path, *arguments) as monitor:
        monitor.wait_until(lambda it: "the page is at" in it.log, START_SECONDS)
        monitor.wait_for_line("listening")
        children = psutil.Process(monitor.process.pid).children(recursive=True)
        (found,) = [each for each in children if "web" in each.cmdline()[4:5]]
        yield found


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


def watch(port: int, stop: threading.Event, received: list[int]) -> None:
    """Look at the live feed, as the page Now does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/live")
        response = connection.getresponse()
        while not stop.is_set():
            received.append(len(response.readline()))


def core_of(page: psutil.Process) -> float:
    """Share of a core in the time that follows."""
    before = sum(page.cpu_times()[:2])
    time.sleep(MEASURED_SECONDS)
    return (sum(page.cpu_times()[:2]) - before) / MEASURED_SECONDS


def test_memory_and_time_for_five_viewers(page: psutil.Process, port: int) -> None:
    for path in PAGES:
        get(port, path)
    time.sleep(SETTLED_SECONDS)
    idle = core_of(page)
    stop = threading.Event()
    received: list[list[int]] = [[] for _ in range(VIEWERS)]
    viewers = [
        threading.Thread(target=watch, args=(port, stop, each)) for each in received
    ]
    for viewer in viewers:
        viewer.start()
    time.sleep(SETTLED_SECONDS)
    core = core_of(page)
    mib = page.memory_info().rss / 2**20
    stop.set()
    for viewer in viewers:
        viewer.join()
    lines = min(map(len, received)) / (SETTLED_SECONDS + MEASURED_SECONDS)
    shares = f"{core:.2%} of a core, {idle:.2%} without viewers"
    sys.stdout.write(f"\n{mib:.1f} MiB, {shares}, {lines:.0f} lines a second each\n")
    assert lines > 5
    assert mib <= MOST_MIB
    assert core < MOST_CORE
    assert idle < MOST_IDLE_CORE


def test_the_first_view_is_small(page: psutil.Process, port: int) -> None:
    sizes = {}
    for path in ("/", "/events", "/system"):
        waiting, sizes[path] = {path}, 0
        loaded: set[str] = set()
        while waiting:
            name = waiting.pop()
            loaded.add(name)
            content = get(port, name)
            sizes[path] += len(content)
            text = content.decode()
            found = re.findall(r'(?:src|href)="(/static/[^"]+|/strings/[^"]+)"', text)
            found += re.findall(r'name="strings" content="([^"]+)"', text)
            if name.endswith(".js"):
                modules = re.findall(r'from "\./([\w/.]+)"', text)
                found += [f"/static/{module}" for module in modules]
            waiting |= set(found) - loaded
    sys.stdout.write(f"\n{sizes}\n")
    assert max(sizes.values()) < 150_000
