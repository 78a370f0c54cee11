"""Fifty viewers that come, stall and go: the others see all, and memory stays small."""

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import monitor.web.server
from monitor.web import live
from monitor.web.app import WebApp, build_app
from monitor.web.server import GONE_SECONDS, UNSENT_BYTES, Server, listen
from monitor.web.session import COOKIE
from tests.support.web import (
    PASSWORD,
    VIEWER_PASSWORD,
    WebClient,
    make_config,
    make_context,
    set_passwords,
)

STALLED = 50
SECONDS = 20.0
HELLO = b'{"type": "hello"}\n'
COLUMNS = {"type": "columns", "data": base64.b64encode(bytes(9600)).decode()}
REQUEST = (
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: %s\r\n\r\n"
)


@contextlib.asynccontextmanager
async def monitor_that_sends(path: Path) -> AsyncIterator[asyncio.Event]:
    """A live feed that sends columns as fast as they are taken, once told to."""
    begin, writers = asyncio.Event(), list[asyncio.StreamWriter]()

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readline()
        writer.write(HELLO)
        with contextlib.suppress(ConnectionError):
            await begin.wait()
            while True:
                writer.write(json.dumps(COLUMNS).encode() + b"\n")
                await writer.drain()
                await asyncio.sleep(0.002)

    server = await asyncio.start_unix_server(send, path)
    try:
        yield begin
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def served(app: WebApp) -> AsyncIterator[tuple[Server, int]]:
    """Serve in this event loop; yield the server and its port."""
    listener = listen("127.0.0.1", 0)
    server = Server(app)
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield server, int(listener.getsockname()[1])
    finally:
        server.stop()
        await task


async def look(
    port: int, cookie: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for the live feed; read until the first line of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**14)
    writer.write(REQUEST % cookie.encode())
    async with asyncio.timeout(SECONDS):
        while b"hello" not in await reader.readline():
            pass
    return reader, writer


def test_viewers_that_stall_are_dropped_and_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BACKLOG_BYTES", 2**17)
    monkeypatch.setattr(monitor.web.server, "WRITE_SECONDS", 2.0)

    async def run() -> None:
        context = make_context(tmp_path, config=make_config(max_viewers=STALLED + 1))
        app = build_app(context)
        feed = monitor_that_sends(tmp_path / "status.sock")
        async with feed as begin, served(app) as (server, port):
            stalled = [await look(port) for _ in range(STALLED)]
            reader, writer = await look(port)
            assert app.live.is_full
            begin.set()
            seen = 0
            async with asyncio.timeout(SECONDS):
                while len(server.server_state.connections) > 1 or seen < 200:
                    seen += b"columns" in await reader.readline()
            assert app.live.dropped == STALLED
            for _, other in (*stalled, (reader, writer)):
                other.transport.abort()

    asyncio.run(run())


def test_a_session_that_ends_takes_its_live_page_along(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    set_passwords(context)

    async def run() -> None:
        app = build_app(context)
        client = WebClient(app)
        await asyncio.to_thread(client.log_in, PASSWORD)
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        feed = monitor_that_sends(tmp_path / "status.sock")
        async with feed as begin, served(app) as (_, port):
            reader, writer = await look(port, cookie)
            app.guard.sessions.clear()
            begin.set()
            async with asyncio.timeout(SECONDS):
                rest = await reader.read()
            assert rest.count(b"columns") < 200
            writer.transport.abort()

    asyncio.run(run())


def test_a_session_that_has_every_place_makes_room_for_the_owner(
    tmp_path: Path,
) -> None:
    context = make_context(tmp_path, config=make_config(max_viewers=3))
    set_passwords(context)

    async def run() -> None:
        app = build_app(context)
        cookies = []
        for password in (VIEWER_PASSWORD, PASSWORD):
            client = WebClient(app)
            await asyncio.to_thread(client.log_in, password)
            cookies.append(f"{COOKIE}={client.cookies[COOKIE]}")
        feed = monitor_that_sends(tmp_path / "status.sock")
        async with feed, served(app) as (_, port):
            places = [await look(port, cookies[0]) for _ in range(3)]
            places.append(await look(port, cookies[1]))
            for _, writer in places:
                writer.transport.abort()

    asyncio.run(run())


def test_a_server_that_nobody_asks_sleeps_until_it_is_stopped(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(build_app(make_context(tmp_path))) as (server, _):
            while not server.started:
                await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            waiting = loop._scheduled
            assert all(each.when() - loop.time() > 1 for each in waiting)

    asyncio.run(run())


def test_there_is_no_place_for_more_viewers_that_come_at_the_same_moment(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        app = build_app(make_context(tmp_path, config=make_config(max_viewers=5)))
        async with served(app) as (server, port):
            pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(9)]
            for _, writer in pairs:
                writer.write(REQUEST % b"")
            async with asyncio.timeout(SECONDS):
                statuses = [(await reader.readline())[9:12] for reader, _ in pairs]
            assert sorted(statuses) == [b"200"] * 5 + [b"503"] * 4
            for connection in server.server_state.connections:
                own, tcp = connection.transport.get_extra_info("socket"), 6
                assert own.getsockopt(tcp, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES
                gone = own.getsockopt(tcp, socket.TCP_USER_TIMEOUT)
                assert gone == 1000 * GONE_SECONDS
            for _, writer in pairs:
                writer.transport.abort()
            # Some have gone before their answer begins.
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(REQUEST % b"")
                await asyncio.sleep(0)
                writer.transport.abort()
            async with asyncio.timeout(SECONDS):
                while server.server_state.connections or app.live._viewers:
                    await asyncio.sleep(0.01)

    asyncio.run(run())
