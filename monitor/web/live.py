"""The live feed of the monitor for many viewers, as server-sent events."""

import asyncio
import contextlib
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from time import monotonic

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from monitor.sinks.status_client import socket_address
from monitor.web.rendering import language_of, translation
from monitor.web.security import guard_of, is_foreign
from monitor.web.viewers import Line, Viewer, Visitor, greediest

logger = logging.getLogger(__name__)

BACKLOG_BYTES = 2**20
"""Lines that wait for a viewer; one for whom more wait is dropped."""

REMEMBERED = 1024
"""Lines whose kind is known to count what a viewer missed."""

STALL_SECONDS = 5.0
"""A viewer that has taken nothing for so long gives its place to a new one."""

HEARTBEAT_SECONDS = 15.0
QUIET_SECONDS = 10.0
"""The monitor sends a status every two seconds."""

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 10.0
LINGER_SECONDS = 10.0
"""The connection to the monitor outlives its last viewer by this, for a reload."""

MAX_LINE_BYTES = 2**22
RETRY_MS = 2000
"""Pause of a browser before it connects again."""

KEPT = ("offline", "hello", "status")
"""Types of lines that a new viewer gets at once."""


class LiveFeed:
    """One connection to the monitor, while there are viewers, and their streams.

    Used by the event loop's thread.
    """

    def __init__(self, sockets: Sequence[Path], max_viewers: int) -> None:
        """Connect to nothing before there is a viewer."""
        self._sockets = sockets
        self._max_viewers = max_viewers
        self._viewers: set[Viewer] = set()
        self._kept: dict[str, Line] = {}
        self._number = 0
        self._remembered: deque[Line] = deque(maxlen=REMEMBERED)
        self._task: asyncio.Task[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._name = secrets.token_hex(4).encode()
        self.dropped = 0
        """Viewers that did not read, or made room."""

    @property
    def is_full(self) -> bool:
        """Return True if there is no room for another viewer."""
        return len(self._viewers) >= self._max_viewers

    def admit(
        self, kinds: frozenset[str], sources: frozenset[str], visitor: Visitor
    ) -> Viewer | None:
        """Give a viewer a place until it is to `leave`; None: there is none.

        What is kept waits for it at once.

        Args:
            kinds: Types of lines; none: all.
            sources: Sources of lines; none: all.
            visitor: Whose it is; nobody can take the places of all others.
        """
        if self.is_full:
            waiting = (each for each in self._viewers if each.waiting)
            leaving = min(waiting, key=lambda each: each.waits_since, default=None)
            if leaving is None or monotonic() - leaving.waits_since < STALL_SECONDS:
                leaving = greediest(self._viewers, visitor)
            if leaving is None:
                return None
            self._drop(leaving)
        viewer = Viewer(visitor, kinds, sources)
        self._viewers.add(viewer)
        if self._linger is not None:
            self._linger.cancel()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())
        for kind in KEPT:
            if kind in self._kept and viewer.wants(kind, None):
                viewer.add(self._kept[kind])
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Take the place of a viewer back."""
        if viewer not in self._viewers:
            return
        self._viewers.remove(viewer)
        if not self._viewers:
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(LINGER_SECONDS, self._disconnect)

    def _drop(self, viewer: Viewer) -> None:
        """End a viewer that does not read, or has to make room."""
        self.dropped += 1
        self.leave(viewer)
        viewer.end()

    async def stream(
        self,
        viewer: Viewer,
        last_id: str = "",
        is_admitted: Callable[[], bool] = lambda: True,
    ) -> AsyncIterator[bytes]:
        """Yield server-sent events: the lines that wait for a viewer, as they come.

        Args:
            viewer: One that has a place.
            last_id: The last event that a browser had before it connected again; it is
                told how many it has missed.
            is_admitted: Whether the viewer may still look; else its stream ends.
        """
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            if missed := self._missed(viewer, last_id):
                yield b'data: {"type":"dropped","count":%d}\n\n' % missed
            while not viewer.is_over and is_admitted():
                yield await self._next(viewer)
        finally:
            self.leave(viewer)

    async def _next(self, viewer: Viewer) -> bytes:
        """Wait for lines; return them, or a comment that keeps the stream open."""
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await viewer.wake.wait()
        except TimeoutError:
            return b": \n\n"
        return viewer.take()

    def _missed(self, viewer: Viewer, last_id: str) -> int:
        name, _, number = last_id.partition("-")
        if name.encode() != self._name or not number.isdecimal():
            return 0
        return sum(
            each.number > int(number) and viewer.wants(each.kind, each.source)
            for each in self._remembered
        )

    async def close(self) -> None:
        """End every stream, and the connection."""
        for viewer in self._viewers:
            viewer.end()
        self._viewers.clear()
        if self._linger is not None:
            self._linger.cancel()
        if (task := self._disconnect()) is not None:
            await asyncio.wait({task})

    def _disconnect(self) -> asyncio.Task[None] | None:
        """End the connection; return its task, which ends soon."""
        task, self._task = self._task, None
        self._kept.clear()
        if task is not None:
            task.cancel()
        return task

    async def _follow(self) -> None:
        """Keep the connection."""
        pause = FIRST_RETRY_SECONDS
        while True:
            if await self._read_once():
                pause = FIRST_RETRY_SECONDS
            if "offline" not in self._kept:
                self._kept.clear()
                self._publish("offline", None, b'{"type":"offline"}')
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_RETRY_SECONDS)

    async def _read_once(self) -> bool:
        """Publish the lines of one connection; return whether there were any."""
        writer: asyncio.StreamWriter | None = None
        rest, has_come = b"", False
        try:
            reader, writer = await self._connect()
            writer.write(b'{"request": "live"}\n')
            while True:
                # What the monitor has sent at once goes to the viewers at once.
                async with asyncio.timeout(QUIET_SECONDS):
                    data = await reader.read(MAX_LINE_BYTES)
                *lines, rest = (rest + data).split(b"\n")
                is_feed = data and len(rest) < MAX_LINE_BYTES
                if not is_feed or not all(map(self._take, lines)):
                    return has_come
                has_come = has_come or bool(lines)
        except (OSError, ValueError):
            return has_come
        finally:
            if writer is not None:
                writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first monitor that there is.

        Raises:
            OSError: There is none.
        """
        for path in self._sockets:
            with contextlib.suppress(OSError), socket_address(path) as (_, name):
                return await asyncio.open_unix_connection(name)
        raise FileNotFoundError

    def _take(self, text: bytes) -> bool:
        """Publish a line of the monitor; False: it is none of a live feed."""
        document = json.loads(text)
        if not isinstance(document, dict) or "type" not in document:
            return False
        kind = str(document["type"])
        source = document.get("source")
        self._publish(kind, source if isinstance(source, str) else None, text)
        return True

    def _publish(self, kind: str, source: str | None, text: bytes) -> None:
        self._number += 1
        event = b"id: %s-%d\ndata: %s\n\n" % (self._name, self._number, text)
        line = Line(self._number, kind, source, event)
        if kind == "hello":
            self._kept.pop("offline", None)
        if kind in KEPT:
            self._kept[kind] = line
        self._remembered.append(Line(self._number, kind, source, b""))
        for viewer in list(self._viewers):
            if not viewer.wants(kind, source):
                continue
            if viewer.waiting_bytes >= BACKLOG_BYTES:
                self._drop(viewer)
            else:
                viewer.add(line)


class _Stream(StreamingResponse):
    """The answer to a viewer."""

    def __init__(
        self,
        feed: LiveFeed,
        viewer: Viewer,
        last_id: str,
        is_admitted: Callable[[], bool],
    ) -> None:
        super().__init__(
            feed.stream(viewer, last_id, is_admitted),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self._feed, self._viewer = feed, viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.  A client that has gone already never lets its stream begin."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave(self._viewer)


def routes(feed: LiveFeed) -> list[Route]:
    """Return the route of the live feed."""

    async def live(request: Request) -> Response:
        if is_foreign(request.headers):
            raise HTTPException(403)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        chosen = request.query_params
        guard, session = guard_of(request), request.state.session
        visitor = Visitor(
            request.client.host if request.client else "",
            session if guard.sessions.get(session) else "",
            request.state.role == "owner",
        )
        viewer = feed.admit(
            _words(chosen.getlist("types")), _words(chosen.getlist("sources")), visitor
        )
        if viewer is None:
            t = translation(language_of(request))
            return PlainTextResponse(t("refusal.viewers"), 503)
        return _Stream(
            feed,
            viewer,
            request.headers.get("last-event-id", ""),
            lambda: guard.admits(session),
        )

    return [Route("/live", live)]


def _words(values: Sequence[str]) -> frozenset[str]:
    """Read ?types=a&types=b and ?types=a,b."""
    return frozenset(word for value in values for word in value.split(",") if word)
