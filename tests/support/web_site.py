"""A monitor and its page as a user runs them: two commands in a folder."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx

from tests.support.daemon import RunningMonitor

START_SECONDS = 30.0


class Site:
    """A configuration, its monitor if it was started, and its page."""

    def __init__(self, folder: Path, text: str) -> None:
        """Write the configuration; nothing is started.

        $FOLDER in the text stands for the folder.
        """
        self.folder = folder
        self.state_dir = folder / "state"
        self.file = folder / "config.yaml"
        self.file.write_text(
            f"state_dir: {self.state_dir}\n{text.replace('$FOLDER', str(folder))}"
        )
        self.monitor: RunningMonitor | None = None
        self._web: subprocess.Popen[bytes] | None = None
        self._port = free_port()

    @property
    def url(self) -> str:
        """Address of the page, without a path."""
        return f"http://127.0.0.1:{self._port}"

    def start_monitor(self) -> RunningMonitor:
        """Start the monitor; return when it is ready."""
        self.monitor = RunningMonitor(self.folder, "--config", str(self.file))
        self.monitor.wait_until_ready()
        return self.monitor

    def kill_monitor(self) -> None:
        """Kill the monitor and its children, as a crash would."""
        if self.monitor is not None:
            self.monitor.__exit__(None, None, None)
            self.monitor = None

    def start_web(self, *more: str) -> None:
        """Start the page, with more arguments; return when it answers."""
        listen = f"127.0.0.1:{self._port}"
        command = ("web", "--config", str(self.file), "--listen", listen, *more)
        log = (self.folder / "web.log").open("wb")
        with log:
            self._web = subprocess.Popen(
                [sys.executable, "-m", "monitor", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = monotonic() + START_SECONDS
        while True:
            try:
                httpx.get(f"{self.url}/static/style.css").raise_for_status()
            except httpx.TransportError:
                assert self._web.poll() is None, self.log
                assert monotonic() < deadline, "the page does not answer"
                sleep(0.05)
            else:
                return

    @property
    def log(self) -> str:
        """The log of the page."""
        return (self.folder / "web.log").read_text()

    @property
    def resident_mib(self) -> float:
        """Memory of the process of the page."""
        assert self._web is not None
        status = Path(f"/proc/{self._web.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def stop(self) -> None:
        """End both."""
        if self._web is not None:
            self._web.terminate()
            self._web.wait(START_SECONDS)
        self.kill_monitor()


@contextmanager
def site(text: str) -> Iterator[Site]:
    """A site in a folder with a short path, for sockets have short ones."""
    with tempfile.TemporaryDirectory(prefix="site-", dir=_short_folder()) as folder:
        found = Site(Path(folder), text)
        found.state_dir.mkdir()
        try:
            yield found
        finally:
            found.stop()


def _short_folder() -> str:
    return os.environ.get("TMPDIR", "/tmp")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
