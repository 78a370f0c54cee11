"""The server of the web page: uvicorn on one address, with limits of its clients."""

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from ipaddress import ip_address
from time import monotonic
from types import FrameType
from typing import Any, TypeGuard

import uvicorn
from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.errors import UsageError
from monitor.web.addresses import is_loopback, network_of
from monitor.web.app import WebApp
from monitor.web.security import MAX_HEADER_BYTES

STOP_SECONDS = 2
"""Longest time for answers that are under way when the server stops."""

HEADER_SECONDS = 10.0
"""Longest time from a connection, or a request's first byte, to its last header."""

WRITE_SECONDS = 20.0
"""A client that takes nothing of an answer for so long is cut off."""

GONE_SECONDS = 25
"""A client that confirms nothing of an answer for so long has vanished."""

UNSENT_BYTES = 16_384
"""Of an answer, in the kernel; more would hide that a client does not read."""

HANG_SECONDS = 60.0
"""A page that does no work for so long ends, and is started again."""

MISSES = 6
"""Looks in a row in this time that find no work done; a stopped page takes none."""

MAX_CONNECTIONS = 256
MAX_OF_CLIENT = 32
"""Connections of one address, or /64 of IPv6, that is neither this machine's nor the
proxy's."""

BACKLOG = 64

logger = logging.getLogger(__name__)


class Protocol(H11Protocol):
    """A connection: cut off if its client neither asks nor reads."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        """Make a connection; the arguments are uvicorn's."""
        super().__init__(*arguments, **more)
        self._asks = _Deadline(HEADER_SECONDS)
        self._reads = _Deadline(WRITE_SECONDS)
        self.began = monotonic()
        self.network = ""

    def connection_made(self, transport: Any) -> None:
        """Take a connection; above a limit, one that asks nothing makes room."""
        super().connection_made(transport)
        self._asks.begin(transport)
        address = self.client[0] if self.client else ""
        self.network = network_of(address)
        if not _is_unlimited(address, self.config.app):
            same = {it for it in self.connections if _network(it) == self.network}
            if len(same) > MAX_OF_CLIENT:
                self._make_room(same)
                return
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room(self.connections)

    def _make_room(self, among: set[Any]) -> None:
        idle = filter(_is_idle, among - {self})
        # The oldest: the newest may be just about to ask.
        min(idle, key=lambda each: each.began, default=self).transport.abort()

    @property
    def has_asked(self) -> bool:
        """Return True from the last header of a request to the end of its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_answering(self) -> bool:
        """Return True while a request that has come whole is being answered."""
        return self.has_asked and not self.cycle.more_body

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        if self.has_asked:
            self._asks.cancel()
        else:
            self._asks.begin(self.transport)

    def on_response_complete(self) -> None:
        """End a request."""
        super().on_response_complete()
        self._asks.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._asks.cancel()
        self._reads.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that does not read."""
        super().pause_writing()
        self._reads.begin(self.transport)

    def resume_writing(self) -> None:
        """Go on: it reads."""
        super().resume_writing()
        self._reads.cancel()


class _Deadline:
    """The time by which a client must have done something."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """Cut the connection off after the time; one that runs goes on."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, transport.abort)

    def cancel(self) -> None:
        """Wait for nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _is_idle(connection: object) -> TypeGuard[Protocol]:
    return (
        isinstance(connection, Protocol)
        and not connection.is_answering
        and not connection.transport.is_closing()
    )


def _network(connection: object) -> str | None:
    return connection.network if isinstance(connection, Protocol) else None


def _is_unlimited(address: str, app: object) -> bool:
    """Return True for this machine, and the proxy, which connects for many."""
    is_proxy = isinstance(app, WebApp) and app.guard.is_proxy(address)
    return is_proxy or is_loopback(address)


class Server(uvicorn.Server):
    """A server that ends its live streams when it stops."""

    def __init__(self, app: WebApp) -> None:
        """Serve an application."""
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._web = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends = asyncio.Event()
        self.is_interrupted = False

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn would wake up ten times a second."""
        self._loop = asyncio.get_running_loop()
        with _Watchdog(self._loop, current_default_thread_limiter()):
            if not self.should_exit:
                await self._ends.wait()

    def stop(self) -> None:
        """Have the server end.  Any thread, and a signal handler."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ends.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; without raising the signal again, as uvicorn would."""
        del frame
        self.is_interrupted = sig == signal.SIGINT
        self.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, which would never end by themselves; then the rest."""
        await self._web.close()
        await super().shutdown(sockets)


class _Watchdog:
    """Ends the process when its loop, all its threads or its interpreter hang.

    The stack of every thread goes to the standard error.  The service manager, or the
    monitor of `run --web`, starts the page again.  Time counts only as looks of a
    thread and as the processor's: a page that was stopped, or waits for its turn on a
    busy machine, does not hang.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, threads: CapacityLimiter
    ) -> None:
        self._loop, self._threads = loop, threads
        self._held: set[object] = set()
        """Requests that have had a thread since one was last seen to be given back."""

        self._works = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> None:
        faulthandler.register(signal.SIGPROF, file=2, chain=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)

    def _run(self) -> None:
        """Look again and again.  Runs on a thread of its own."""
        pause, misses = HANG_SECONDS / MISSES, 0
        # Twice what all processors can spend until the next look.
        longest = max(HANG_SECONDS, 2 * pause * (os.cpu_count() or 1))
        while misses < MISSES:
            # Code that keeps the interpreter to itself keeps this thread from looking.
            signal.setitimer(signal.ITIMER_PROF, longest)
            self._works = False
            self._loop.call_soon_threadsafe(self._look)
            if self._stop.wait(pause):
                return
            misses = 0 if self._works else misses + 1
        faulthandler.dump_traceback(file=2)
        os._exit(1)

    def _look(self) -> None:
        """See whether a thread was free, or given back.  Runs on the loop."""
        borrowers = set(self._threads.statistics().borrowers)
        self._held &= borrowers
        if len(self._held) < self._threads.total_tokens:
            self._held, self._works = borrowers, True


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address.

    Raises:
        UsageError: The address cannot be listened at.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform == "linux":  # its connections inherit both
        tcp = socket.IPPROTO_TCP
        listener.setsockopt(tcp, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.setsockopt(tcp, socket.TCP_USER_TIMEOUT, 1000 * GONE_SECONDS)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"web.listen: {_place(host, port)} cannot be listened at: {error.strerror}"
        ) from None
    return listener


def serve(app: WebApp, listener: socket.socket) -> bool:
    """Serve until a signal stops it; return whether that was Ctrl-C."""
    # Of each foreign byte that is no HTTP it would write a line.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    host, port = listener.getsockname()[:2]
    logger.info("the page is at http://%s", _place(reachable(host), port))
    server = Server(app)
    server.run([listener])
    return server.is_interrupted


def reachable(host: str) -> str:
    """Return an address under which other machines reach what listens at `host`."""
    if not ip_address(host).is_unspecified:
        return host
    # A datagram socket that is connected sends nothing, but has an address: that of
    # the network that leads to others.
    routes = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
    for family, elsewhere in routes.items():
        if family == socket.AF_INET6 and ":" not in host:
            continue
        with (
            contextlib.suppress(OSError),
            socket.socket(family, socket.SOCK_DGRAM) as it,
        ):
            it.connect((elsewhere, 9))
            return str(it.getsockname()[0])
    return socket.gethostname()


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
