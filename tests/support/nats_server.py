"""A real NATS server with JetStream, that can be killed and started."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nkeys
import pytest

from tests.support import ROOT
from tests.support.local_server import LocalServer

PROGRAM = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")

needs_nats = pytest.mark.skipif(
    PROGRAM is None, reason="needs nats-server: apt install nats-server"
)

SEED = nkeys.encode_seed(b"7" * 32, nkeys.PREFIX_BYTE_USER)
PUBLIC_KEY = nkeys.from_seed(SEED).public_key.decode()


class NatsServer(LocalServer):
    """A server on loopback, with its files in a folder of the test."""

    def __init__(self, folder: Path, configuration: str = "") -> None:
        """Add `configuration`, for example users, to that of JetStream."""
        super().__init__(folder, PROGRAM, "nats")
        self._file.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"jetstream: {{store_dir: {folder / 'jetstream'}}}\n{configuration}\n"
        )

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


@contextmanager
def running_nats(folder: Path, configuration: str = "") -> Iterator[NatsServer]:
    server = NatsServer(folder, configuration)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def documented_server(folder: Path) -> Iterator[NatsServer]:
    """A server with the users of docs/fleet.md; all passwords are `secret`."""
    page = (ROOT / "docs" / "fleet.md").read_text()
    (text,) = re.findall(r"^```nats\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    text = re.sub(r"jetstream .*\n", "", text)
    text = text.replace('password: "$2a$11$…"', 'password: "secret"')
    text = re.sub(r'nkey: "U[A-Z0-9]+"', f'nkey: "{PUBLIC_KEY}"', text)
    with running_nats(folder, text) as server:
        yield server
