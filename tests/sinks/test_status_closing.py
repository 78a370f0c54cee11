"""Commands that meet a reload, or a flood, are answered or sent again."""

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import ClosedError
from monitor.sinks import status_requests
from monitor.sinks.status_client import RETRY_SECONDS, ask_command, query_status
from monitor.sinks.status_socket import private_socket
from tests.support.clock import DEADLINE_SECONDS
from tests.support.status_server import echo, running, sent


def test_a_command_waits_for_the_socket_of_a_monitor_that_reloads(
    tmp_path: Path,
) -> None:
    path = tmp_path / "status.sock"
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(ask_command, [path], "mute", {})
        with pytest.raises(TimeoutError):
            done.result(3 * RETRY_SECONDS)
        with running(path, echo):
            assert done.result(DEADLINE_SECONDS) == {"name": "mute"}


def test_a_command_that_was_not_begun_is_sent_to_the_successor(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with ThreadPoolExecutor(1) as pool:
        with private_socket(path) as listener:
            done = pool.submit(ask_command, [path], "mute", {})
            listener.settimeout(DEADLINE_SECONDS)
            listener.accept()[0].close()
        with running(path, echo):
            assert done.result(DEADLINE_SECONDS) == {"name": "mute"}


def test_a_command_that_came_between_closed_files_is_sent_again(tmp_path: Path) -> None:
    refusals = [ClosedError("the monitor stops or reloads: try it again")]

    def closed_once(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if refusals:
            raise refusals.pop()
        return echo(name, arguments)

    path = tmp_path / "status.sock"
    with running(path, closed_once):
        assert ask_command([path], "mute", {}) == {"name": "mute"}


@pytest.mark.parametrize("is_soon_done", [True, False])
def test_a_command_that_runs_while_the_socket_closes_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_soon_done: bool
) -> None:
    if is_soon_done:
        monkeypatch.setattr(status_requests, "LAST_SECONDS", DEADLINE_SECONDS)
    path, begun, over = tmp_path / "status.sock", threading.Event(), threading.Event()

    def work(name: str, _: Mapping[str, Any]) -> dict[str, Any]:
        begun.set()
        over.wait(DEADLINE_SECONDS)
        return {"name": name}

    command = b'{"request": "command", "name": "review"}\n'
    try:
        with running(path, work):
            client = sent(path, command)
            assert begun.wait(DEADLINE_SECONDS)
        if is_soon_done:
            over.set()
        with client, client.makefile("rb") as lines:
            told = json.loads(lines.readline())
    finally:
        over.set()
    if is_soon_done:
        assert told == {"ok": True, "result": {"name": "review"}}
    else:
        assert "the command goes on" in told["sentence"]


def test_a_flood_of_clients_takes_no_answer_from_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_requests, "SILENT_SECONDS", DEADLINE_SECONDS)
    path, over = tmp_path / "status.sock", threading.Event()

    def work(name: str, _: Mapping[str, Any]) -> dict[str, Any]:
        over.wait(DEADLINE_SECONDS)
        return {"name": name}

    with running(path, work):
        client = sent(path, b'{"request": "command", "name": "review"}\n')
        idle = [sent(path, b"") for _ in range(status_requests.MAX_CLIENTS + 4)]
        assert query_status([path], DEADLINE_SECONDS)["listening"]
        over.set()
        assert json.loads(client.recv(4096))["ok"]
        for each in (client, *idle):
            each.close()
