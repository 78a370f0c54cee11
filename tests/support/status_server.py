"""A status socket in tests, with commands, and a client that sends what it likes."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monitor.errors import SoundMonitorError
from monitor.sinks.status_client import query_status
from monitor.sinks.status_requests import Commands, Follow
from monitor.sinks.status_socket import StatusSocket
from tests.support.clock import DEADLINE_SECONDS, wait_until
from tests.support.status import FakeMonitor


@contextmanager
def running(
    path: Path, commands: Commands | None = None, follow: Follow | None = None
) -> Iterator[None]:
    monitor = FakeMonitor(path.parent)
    sink = StatusSocket(monitor.tracker, path, commands, follow)
    try:
        sink.report(monitor.report())
        wait_until(lambda: query_status([path])["running"])
        yield
    finally:
        sink.close()


def sent(path: Path, data: bytes) -> socket.socket:
    """Return a connection on which `data` was sent and no more."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(DEADLINE_SECONDS)
    connection.connect(str(path))
    connection.sendall(data)
    return connection


def echo(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if name == "refuse":
        raise SoundMonitorError("'refuse' is never done")
    if name == "fail":
        raise ZeroDivisionError("a bug")
    if name == "nan":
        return {"value": float("nan")}
    return {"name": name, **arguments}
