"""Many viewers share one connection to the monitor, and none of them holds it up."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.web import live
from monitor.web.live import LiveFeed
from monitor.web.viewers import Viewer, Visitor

Line = dict[str, Any]

ANYBODY = Visitor("127.0.0.1", "", True)
HELLO = {"type": "hello", "version": 1}
SECONDS = 10.0


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection whose client may have gone."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


class FakeMonitor:
    """The live feed of a monitor: it sends what a test tells it to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.followers: list[asyncio.StreamWriter] = []
        self.connections = 0

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, self.path)

    async def stop(self) -> None:
        self._server.close()
        for writer in self.followers:
            await closed(writer)
        self.followers.clear()
        self.path.unlink()

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert json.loads(await reader.readline()) == {"request": "live"}
        self.connections += 1
        writer.write(json.dumps(HELLO).encode() + b"\n")
        self.followers.append(writer)

    def send(self, *lines: Line) -> None:
        for writer in self.followers:
            writer.writelines(json.dumps(line).encode() + b"\n" for line in lines)


class Browser:
    """Reads a stream as an EventSource does."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self.last_id = ""
        self.lines: list[Line] = []

    async def read_until(self, condition: Callable[[list[Line]], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition(self.lines):
                await self._read()

    async def read_levels(self, count: int) -> None:
        await self.read_until(lambda _: len(self.of("levels")) >= count)

    async def read_to_the_end(self) -> None:
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    await self._read()

    async def _read(self) -> None:
        for field in (await anext(self._stream)).decode().splitlines():
            name, _, value = field.partition(": ")
            if name == "id":
                self.last_id = value
            if name == "data":
                self.lines.append(json.loads(value))

    def of(self, kind: str) -> list[Line]:
        return [line for line in self.lines if line["type"] == kind]


def browser(
    feed: LiveFeed, *, kinds: str = "", sources: str = "", last_id: str = ""
) -> Browser:
    viewer = feed.admit(live._words([kinds]), live._words([sources]), ANYBODY)
    assert viewer is not None
    return Browser(feed.stream(viewer, last_id))


def place(feed: LiveFeed) -> Viewer:
    viewer = feed.admit(frozenset(), frozenset(), ANYBODY)
    assert viewer is not None
    return viewer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_RETRY_SECONDS", "LONGEST_RETRY_SECONDS"):
        monkeypatch.setattr(live, name, 0.01)


@contextlib.asynccontextmanager
async def feed_of_monitor(
    folder: Path,
) -> AsyncIterator[tuple[LiveFeed, FakeMonitor]]:
    monitor = FakeMonitor(folder / "status.sock")
    await monitor.start()
    feed = LiveFeed((folder / "missing.sock", monitor.path), 50)
    try:
        yield feed, monitor
    finally:
        await feed.close()
        await monitor.stop()


def timers() -> list[asyncio.TimerHandle]:
    """What the event loop will wake up for."""
    waiting = asyncio.get_running_loop()._scheduled
    return [each for each in waiting if not each.cancelled()]


def level(source: str, number: int) -> Line:
    return {"type": "levels", "source": source, "number": number}


def test_viewers_share_a_connection_and_get_what_they_chose(tmp_path: Path) -> None:
    async def run() -> None:
        async with feed_of_monitor(tmp_path) as (feed, monitor):
            everything = browser(feed)
            yard = browser(feed, kinds="levels,event", sources="yard")
            for each in (everything, yard):
                await each.read_until(lambda lines: HELLO in lines)
            status = {"type": "status", "document": {}}
            monitor.send(status, level("street", 1), level("yard", 2))
            await everything.read_until(lambda lines: level("yard", 2) in lines)
            await yard.read_until(lambda lines: level("yard", 2) in lines)
            assert everything.lines == [
                HELLO,
                status,
                level("street", 1),
                level("yard", 2),
            ]
            assert yard.lines == [HELLO, level("yard", 2)]
            assert monitor.connections == 1
            late = browser(feed)
            await late.read_until(lambda lines: len(lines) == 2)
            assert late.lines == [HELLO, status]

    asyncio.run(run())


def test_a_burst_of_lines_drops_no_viewer_that_reads(tmp_path: Path) -> None:
    async def run() -> None:
        async with feed_of_monitor(tmp_path) as (feed, monitor):
            viewer = browser(feed)
            await viewer.read_until(lambda lines: HELLO in lines)
            monitor.send(*(level("street", number) for number in range(2000)))
            await viewer.read_levels(2000)
            assert [each["number"] for each in viewer.of("levels")] == [*range(2000)]
            assert feed.dropped == 0

    asyncio.run(run())


def test_a_viewer_that_does_not_read_is_dropped_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(json.dumps(level("street", 100)))
    monkeypatch.setattr(live, "BACKLOG_BYTES", 100 * size)

    async def run() -> None:
        async with feed_of_monitor(tmp_path) as (feed, monitor):
            slow, quick = browser(feed, kinds="levels"), browser(feed)
            for each in (slow, quick):
                await each.read_until(lambda lines: HELLO in lines)
            for number in range(100, 210):
                monitor.send(level("street", number), {"type": "gap"})
                await quick.read_levels(number - 99)
            assert feed.dropped == 1
            await slow.read_to_the_end()
            assert slow.lines == [HELLO]
            again = browser(feed, kinds="levels", last_id=slow.last_id)
            await again.read_until(lambda lines: HELLO in lines)
            assert again.of("dropped") == [{"type": "dropped", "count": 110}]
            other = browser(feed, last_id="another-1")
            await other.read_until(lambda lines: HELLO in lines)
            assert other.of("dropped") == []

    asyncio.run(run())


def test_the_stream_outlives_the_monitor(tmp_path: Path) -> None:
    async def run() -> None:
        async with feed_of_monitor(tmp_path) as (feed, monitor):
            viewer = browser(feed)
            await viewer.read_until(lambda lines: HELLO in lines)
            await monitor.stop()
            await viewer.read_until(lambda lines: lines[-1]["type"] == "offline")
            late = browser(feed)
            await late.read_until(lambda lines: lines)
            assert late.lines == [{"type": "offline"}]
            await monitor.start()
            await viewer.read_until(lambda lines: lines[-1] == HELLO)
            assert len(viewer.of("offline")) == 1

    asyncio.run(run())


@pytest.mark.parametrize("answer", [b"no json\n", b"[]\n", b"{}\n", b"\n", b"x" * 100])
def test_a_monitor_without_a_feed_is_as_none(
    tmp_path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FIRST_RETRY_SECONDS", SECONDS)

    async def run() -> None:
        answering = set[asyncio.Task[None] | None]()

        async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            answering.add(asyncio.current_task())
            writer.write(answer)
            await closed(writer)

        path = tmp_path / "status.sock"
        server = await asyncio.start_unix_server(accept, path)
        feed = LiveFeed((path,), 50)
        viewer = browser(feed)
        await viewer.read_until(lambda lines: lines)
        assert viewer.lines == [{"type": "offline"}]
        await feed.close()
        server.close()
        await asyncio.gather(*filter(None, answering))

    asyncio.run(run())


def test_a_viewer_who_may_no_longer_look_gets_nothing_more(tmp_path: Path) -> None:
    async def run() -> None:
        async with feed_of_monitor(tmp_path) as (feed, monitor):
            may = [True]
            stream = feed.stream(place(feed), "", lambda: may[0])
            viewer, other = Browser(stream), browser(feed)
            for each in (viewer, other):
                await each.read_until(lambda lines: HELLO in lines)
            may.clear()
            may.append(False)
            monitor.send(level("street", 1))
            await other.read_levels(1)
            await viewer.read_to_the_end()
            assert viewer.lines == [HELLO]

    asyncio.run(run())


def test_the_connection_outlives_its_last_viewer_a_little_and_nothing_outlives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LINGER_SECONDS", 0.1)

    async def run() -> None:
        async with feed_of_monitor(tmp_path) as (feed, monitor):
            for seconds in (0.0, 0.2):  # a browser that loads its page again
                stream = feed.stream(place(feed))
                await Browser(stream).read_until(lambda lines: HELLO in lines)
                await asyncio.sleep(seconds)
                assert not monitor.followers[0].is_closing()
                await stream.aclose()
            async with asyncio.timeout(SECONDS):
                while not monitor.followers[0].is_closing():
                    monitor.send({"type": "levels"})
                    await asyncio.sleep(0.01)
            assert monitor.connections == 1
            assert timers() == []

    asyncio.run(run())


def test_lines_that_come_at_once_are_one_message_for_all_viewers(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with feed_of_monitor(tmp_path) as (feed, monitor):
            streams = [feed.stream(place(feed)) for _ in range(2)]
            for stream in streams:
                await Browser(stream).read_until(lambda lines: HELLO in lines)
            monitor.send(*(level("street", number) for number in range(20)))
            first, second = [await anext(stream) for stream in streams]
            assert first == second
            assert first.count(b"data: ") == 20

    asyncio.run(run())


def test_a_viewer_that_takes_nothing_gives_its_place_to_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "STALL_SECONDS", 0.1)

    async def run() -> None:
        async with feed_of_monitor(tmp_path) as (feed, monitor):
            viewers = [browser(feed) for _ in range(50)]
            for each in viewers:
                await each.read_until(lambda lines: HELLO in lines)
            assert feed.admit(frozenset(), frozenset(), ANYBODY) is None
            monitor.send(level("street", 1))
            for each in viewers[1:]:
                await each.read_levels(1)
            await asyncio.sleep(0.2)
            late = browser(feed)
            await late.read_until(lambda lines: HELLO in lines)
            assert feed.admit(frozenset(), frozenset(), ANYBODY) is None
            await viewers[0].read_to_the_end()
            assert viewers[0].of("levels") == []

    asyncio.run(run())
