"""A relay of TCP connections to another port, and the faults of a network."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
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

        self._loop: asyncio.AbstractEventLoop | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.requests: list[bytes] = []
        """All that clients have sent."""

        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    def cut(self) -> None:
        """Close all connections; new ones are passed on.  Any thread."""
        assert self._loop is not None, "it does not run"
        self._loop.call_soon_threadsafe(self._cancel_pumps)

    async def run(self, stop: asyncio.Event) -> None:
        """Pass on until `stop` is set."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connect, sock=self._socket)
        async with server:
            await stop.wait()
        self._cancel_pumps()

    def _cancel_pumps(self) -> None:
        for pump in self._pumps:
            pump.cancel()

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
        self._pumps.update(pumps)
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
                self._pumps.discard(pump)
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
            if self.mute_without_picture and _is_single(b"".join(asked)):
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


def _is_single(requests: bytes) -> bool:
    """True for those of a client that wants a single stream of a camera."""
    return requests.count(b"SETUP ") == 1 and b"PLAY " in requests


@contextmanager
def relay_to(port: int) -> Iterator[Relay]:
    """Relay connections to `port` while the block runs."""
    with relays_to(port, 1) as (relay,):
        yield relay


@contextmanager
def relays_to(port: int, count: int) -> Iterator[Sequence[Relay]]:
    """Run so many relays to `port`, all on one thread."""
    relays = [Relay(port) for _ in range(count)]
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def main() -> None:
        stop = asyncio.Event()
        started.append((asyncio.get_running_loop(), stop))
        ready.set()
        await asyncio.gather(stop.wait(), *(relay.run(stop) for relay in relays))

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="relay")
    thread.start()
    assert ready.wait(DEADLINE_SECONDS)
    try:
        yield relays
    finally:
        for relay in relays:
            relay.holds = False
        loop, stop = started[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
