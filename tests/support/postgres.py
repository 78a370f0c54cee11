"""A real PostgreSQL server on a unix socket, that can be killed and started."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.support.clock import wait_until

_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
BIN = _FOUND[-1].parent if _FOUND else Path("/usr/bin")

needs_postgres = pytest.mark.skipif(
    not (BIN / "initdb").exists(), reason="needs PostgreSQL: apt install postgresql-15"
)

# It refuses to run as root.
USER = "nobody" if os.geteuid() == 0 else None


class Postgres:
    """A server with files of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://fleet@/fleet?host={self._folder}"

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    def create(self) -> None:
        if USER is not None:
            shutil.chown(self._folder, USER)
        subprocess.run(
            [
                *(BIN / "initdb", "-D", self._folder / "data", "-U", "fleet"),
                *("--no-sync", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"),
            ],
            user=USER,
            cwd="/",
            check=True,
            capture_output=True,
        )
        self.start()
        self._make_database()

    def _make_database(self) -> None:
        with psycopg.connect(
            f"postgresql://fleet@/postgres?host={self._folder}", autocommit=True
        ) as connection:
            connection.execute("CREATE DATABASE fleet")

    def start(self, *options: str) -> None:
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    *(BIN / "postgres", "-D", self._folder / "data"),
                    *("-k", self._folder, "-c", "listen_addresses="),
                    *options,
                ],
                user=USER,
                cwd="/",
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, (self._folder / "log").read_text())

    def kill(self) -> None:
        """Kill the postmaster and all that it has started."""
        parent = psutil.Process(self.process_id)
        children = parent.children()
        for each in (parent, *children):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(children)
        self._end(signal.SIGKILL)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Have it neither answer nor end, as a machine without memory."""
        parent = psutil.Process(self.process_id)
        stopped = [parent, *parent.children()]
        for each in stopped:
            each.suspend()
        try:
            yield
        finally:
            for each in stopped:
                with suppress(psutil.NoSuchProcess):
                    each.resume()

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url, autocommit=True)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            psycopg.connect(f"postgresql://fleet@/postgres?host={self._folder}").close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a server with an empty database."""
    # The path of a socket has 107 bytes at most, and pytest's folders are private.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = Postgres(folder)
    try:
        server.create()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
