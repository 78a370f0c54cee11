"""A real server program on loopback, which can be killed and started."""

import socket
import subprocess
from pathlib import Path

from tests.support.clock import wait_until
from tests.support.endpoint import unused_port


class LocalServer:
    """A program with its files in a folder of the test; it reads NAME.conf there."""

    def __init__(self, folder: Path, program: str | None, name: str) -> None:
        self.port = unused_port()
        self.folder = folder
        self._program = program
        self._file, self._log = folder / f"{name}.conf", folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._program is not None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._file)], stdout=log, stderr=log
            )
        wait_until(self._answers)

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            # One that has just started may miss SIGTERM.
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended:\n{self._log.read_text()}"
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0
