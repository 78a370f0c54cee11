"""A relay of TCP connections to another port, and the faults of a network."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DEADLINE_SECONDS = 10.0
_CHUNK_BYTES = 512


class Relay:
    """Passes connections on; its attributes may be changed while it runs."""

    def __init__(self, target: int) -> None:
        self.target = target
        """Port of this machine to which it connects."""

        self.holds = False
        """Keep all connections open, and pass nothing on."""

        self.bytes_per_second = 0
        """Limit for what the target sends; 0: none."""

        self.mute_without_picture = False
        """Withhold the packets of a camera that is asked for a single stream."""

        self.connections = 0
        self.requests: list[bytes] = []
        """All that clients have sent."""

        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    async def run(self, stop: asyncio.Event) -> None:
        """Pass on until `stop` is set."""
        server = await asyncio.start_server(self._connect, sock=self._socket)
        async with server:
            await stop.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        asked: list[bytes] = []
        pumps = [
            asyncio.create_task(self._pass_requests(reader, there[1], asked)),
            asyncio.create_task(self._pass_answers(there[0], writer, asked)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            writer.close()
            there[1].close()

    async def _pass_requests(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asked: list[bytes],
    ) -> None:
        while data := await reader.read(65_536):
            asked.append(data)
            self.requests.append(data)
            await self._pass(data, writer)

    async def _pass_answers(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asked: list[bytes],
    ) -> None:
        is_muted = False
        while data := await reader.read(_CHUNK_BYTES):
            before = b"".join(asked)
            is_single = before.count(b"SETUP ") == 1 and b"PLAY " in before
            if self.mute_without_picture and is_single:
                head, mark, _ = data.partition(b"$")
                data = b"" if is_muted else head
                is_muted = is_muted or bool(mark)
            await self._pass(data, writer)
            if self.bytes_per_second:
                await asyncio.sleep(len(data) / self.bytes_per_second)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        while self.holds:
            await asyncio.sleep(0.02)
        writer.write(data)
        await writer.drain()


@contextmanager
def relay_to(port: int) -> Iterator[Relay]:
    """Relay connections to `port` while the block runs."""
    relay = Relay(port)
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def main() -> None:
        stop = asyncio.Event()
        started.append((asyncio.get_running_loop(), stop))
        ready.set()
        await relay.run(stop)

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="relay")
    thread.start()
    assert ready.wait(DEADLINE_SECONDS)
    try:
        yield relay
    finally:
        relay.holds = False
        loop, stop = started[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
