"""An archive on a cluster of Ray: two nodes, on this machine."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.archives import contents, write_archive, write_recording

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(300)]


@dataclass
class Cluster:
    """A running cluster."""

    process: subprocess.Popen[str]
    address: str
    environ: dict[str, str]

    def archive(self, *arguments: object) -> subprocess.Popen[str]:
        """Begin to analyse on the cluster."""
        line = [*map(str, arguments), "--engine", "ray", "--address", self.address]
        return subprocess.Popen(
            [sys.executable, "-m", "monitor", "archive", *line],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def actors(self) -> list[psutil.Process]:
        """The processes of the workers."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [it for it in family if "ray::_Worker" in "".join(_command(it))]

    def remove_node(self) -> None:
        """Kill the second node, with all that runs there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("remove\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "removed\n"


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    # Its sockets have long names, and the path of a socket has 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as place:
        environ = {
            **os.environ,
            "HOME": str(tmp_path),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ray_cluster", place],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            address = process.stdout.readline().strip()
            assert address, "the cluster did not start"
            yield Cluster(process, address, environ)
            process.stdin.close()
            assert process.wait(60) == 0


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = write_archive(tmp_path / "cards")
    for number in range(8):
        write_recording(folder / "long" / f"20240502_0{number}0000.wav", 240.0)
    return folder


def processes(recordings: Path, out: Path) -> dict[str, bytes]:
    line = ["archive", str(recordings), "--out", str(out), "--workers", "1"]
    program = [sys.executable, "-m", "monitor", *line]
    assert subprocess.run(program, capture_output=True, check=False).returncode == 1
    return contents(out)


def wait_for_lines(manifest: Path, count: int) -> None:
    until = time.monotonic() + 100
    while not manifest.exists() or manifest.read_text().count("\n") < count:
        assert time.monotonic() < until, "nothing was analysed"
        time.sleep(0.02)


def test_two_nodes_give_the_bytes_of_one_process_whatever_is_killed(
    cluster: Cluster, recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = cluster.archive(recordings, "--out", out)
    wait_for_lines(out / "manifest.jsonl", 1)
    actors = cluster.actors()
    assert len(actors) == 2
    actors[0].send_signal(signal.SIGKILL)
    wait_for_lines(out / "manifest.jsonl", 4)
    cluster.remove_node()
    printed, error = running.communicate(timeout=200)
    assert running.returncode == 1
    assert error.count("its worker died") >= 2, error
    assert "Traceback" not in error
    assert "14 recordings: 12 done, 1 damaged, 1 failed" in printed
    assert contents(out) == processes(recordings, tmp_path / "alone")


def test_ctrl_c_ends_the_actors_and_leaves_what_goes_on_anywhere(
    cluster: Cluster, recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = cluster.archive(recordings, "--out", out)
    wait_for_lines(out / "manifest.jsonl", 2)
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in error
    until = time.monotonic() + 30
    while cluster.actors() and time.monotonic() < until:
        time.sleep(0.1)
    assert not cluster.actors()
    resumed = processes(recordings, out)
    assert resumed == processes(recordings, tmp_path / "alone")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "at 127.0.0.1:9: Connection refused"),
        ("auto", "Could not find any running Ray instance"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_sentence(
    address: str, reason: str, tmp_path: Path
) -> None:
    write_recording(tmp_path / "in" / "a.wav", 5.0)
    line = [str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    engine = ("--engine", "ray", "--address", address)
    environ = {**os.environ, "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-m", "monitor", "archive", *line, *engine],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("sound-monitor: --engine ray: Ray cannot be")
    assert reason in sentence
