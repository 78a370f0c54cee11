"""The requests to the status socket: many clients on one thread, none of which waits.

A client sends one line of JSON: `{"request": "status"}`, `{"request": "live"}`,
`{"request": "recent"}` or `{"request": "command", "name": NAME, "arguments": {...}}`.
One that sends nothing for a moment gets the status.
"""

import contextlib
import json
import logging
import queue
import selectors
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from monitor.errors import ClosedError, SoundMonitorError
from monitor.sinks.status_client import Document
from monitor.text import counted

logger = logging.getLogger(__name__)

Commands = Callable[[str, Mapping[str, Any]], Document]
"""Does the command of this name with these arguments, and returns its result.

Called on a thread of its own, several at a time.  Raises `SoundMonitorError` with a
sentence for the client.
"""

Follow = Callable[[socket.socket], bool]
"""Takes the connection of a client that follows, or leaves it and returns False.

Called on the thread of the socket: must not wait.
"""

RecentDocument = Callable[[], Document]
"""Returns the newest levels and columns; is soon done."""

SILENT_SECONDS = 0.2
"""A client that has sent nothing for so long gets the status."""

REQUEST_SECONDS = 1.0
"""Longest time for a whole request."""

ANSWER_SECONDS = 5.0
"""Longest time for a client that does not read its answer."""

LAST_SECONDS = 0.3
"""Longest time for the commands that run when the socket is closed, as in a reload."""

COMMAND_SECONDS = 10.0
MAX_COMMANDS = 4
"""Commands that run at once, also those that nobody waits for any more."""

REVIEWS = ("review", "lock")
"""Commands that always have one of these places: others may hang, as models load."""

MAX_REQUEST_BYTES = 2**16
MAX_CLIENTS = 32
"""Clients at once, without those that follow; further ones replace the oldest."""


@dataclass(slots=True, eq=False)
class _Client:
    """A client that sends its request, waits for the answer, or reads it."""

    connection: socket.socket
    deadline: float
    """Monotonic seconds at which the wait of now is over."""

    request: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None
    """The rest of the answer; None: there is none yet."""

    command: str = ""
    """Name of the command that it asked for."""

    is_waiting: bool = False
    """A command runs for it."""

    @property
    def is_begun(self) -> bool:
        """True if its request is answered, or a command runs for it."""
        return self.is_waiting or self.answer is not None


class RequestServer:
    """Answers the clients of a listening socket, on the thread of `serve`."""

    def __init__(
        self,
        answer_status: Callable[[], str],
        commands: Commands | None = None,
        follow: Follow | None = None,
        recent: RecentDocument | None = None,
    ) -> None:
        """Prepare.

        Args:
            answer_status: Writes the status document; is soon done.
            commands: None: no command is known.
            follow: None: there is no live feed.
            recent: None: nothing recent is kept.
        """
        self._answer_status = answer_status
        self._commands = commands
        self._follow = follow
        self._recent = recent
        self._clients: list[_Client] = []
        self._results: queue.SimpleQueue[tuple[_Client, str]] = queue.SimpleQueue()
        self._running: list[str] = []
        """Names of the commands that run."""

        self._selector: selectors.BaseSelector
        self._wakeup: socket.socket

    def serve(
        self, listener: socket.socket, stop: threading.Event, poll_seconds: float
    ) -> None:
        """Answer until `stop` is set; it is looked at every `poll_seconds`."""
        listener.setblocking(False)
        woken, self._wakeup = socket.socketpair()
        with selectors.DefaultSelector() as self._selector, woken, self._wakeup:
            for end in (woken, self._wakeup):
                end.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
            self._selector.register(woken, selectors.EVENT_READ)
            try:
                while not stop.is_set():
                    self._turn(listener, woken, stop, poll_seconds)
                self._end_commands(listener, woken)
            finally:
                for client in [*self._clients]:
                    self._drop(client)

    def _turn(
        self,
        listener: socket.socket,
        woken: socket.socket,
        stop: threading.Event,
        poll_seconds: float,
    ) -> None:
        """Wait for what comes next, and answer it."""
        for key, _ in self._selector.select(self._timeout(poll_seconds)):
            if key.fileobj is listener:
                self._accept(listener, stop, poll_seconds)
            elif key.fileobj is woken:
                woken.recv(4096)
            else:
                self._go_on(key.data)
        self._give_results()
        self._look_at_deadlines()

    def _end_commands(self, listener: socket.socket, woken: socket.socket) -> None:
        """Answer the commands that run: who gets no answer may ask again."""
        self._selector.unregister(listener)
        for client in [it for it in self._clients if not it.is_begun]:
            self._drop(client)
        until = monotonic() + LAST_SECONDS
        while any(it.is_waiting for it in self._clients) and monotonic() < until:
            for key, _ in self._selector.select(max(0.0, until - monotonic())):
                if key.fileobj is woken:
                    woken.recv(4096)
                else:
                    self._go_on(key.data)
            self._give_results()
        for client in [it for it in self._clients if it.is_waiting]:
            self._refuse(
                client, "the monitor reloads or stops, and the command goes on"
            )

    def _timeout(self, poll_seconds: float) -> float:
        """Seconds until something must be done without any event."""
        first = min((client.deadline for client in self._clients), default=None)
        if first is None:
            return poll_seconds
        return min(poll_seconds, max(0.0, first - monotonic()))

    def _accept(
        self, listener: socket.socket, stop: threading.Event, poll_seconds: float
    ) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no file can be opened now
            stop.wait(poll_seconds)
            return
        connection.setblocking(False)
        if len(self._clients) >= MAX_CLIENTS:
            # Never one whose command runs: without its answer it would ask again.
            self._drop(next(it for it in self._clients if not it.is_waiting))
        client = _Client(connection, monotonic() + SILENT_SECONDS)
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _go_on(self, client: _Client) -> None:
        """Read or write what is possible now."""
        if client not in self._clients:
            return  # dropped in this turn
        try:
            if client.answer is None:
                self._read(client)
            else:
                self._write(client)
        except BlockingIOError:
            return
        except OSError:  # it is gone
            self._drop(client)

    def _read(self, client: _Client) -> None:
        received = client.connection.recv(MAX_REQUEST_BYTES)
        if client.is_waiting:  # it says more, or is gone: the answer will find out
            self._selector.unregister(client.connection)
            return
        if received and not client.request:
            client.deadline = monotonic() + REQUEST_SECONDS
        client.request += received
        line, newline, _ = bytes(client.request).partition(b"\n")
        if newline or not received:
            self._begin(client, line)
        elif len(line) > MAX_REQUEST_BYTES:
            self._refuse(client, f"a request has {MAX_REQUEST_BYTES} bytes at most")

    def _begin(self, client: _Client, line: bytes) -> None:
        """Begin to answer a request."""
        try:
            request = json.loads(line) if line.strip() else {"request": "status"}
        except (ValueError, RecursionError):
            request = None
        match request:
            case {"request": "status"}:
                self._answer(client, self._answer_status())
            case {"request": "live"}:
                self._hand_over(client)
            case {"request": "recent"} if self._recent is not None:
                self._answer(client, json.dumps({"ok": True, "result": self._recent()}))
            case {"request": "command", "name": str(name), **rest}:
                arguments = rest.get("arguments", {})
                if isinstance(arguments, dict):
                    self._start(client, name, arguments)
                else:
                    self._refuse(client, "the arguments of a command are an object")
            case _:
                self._refuse(client, "this request is unknown here")

    def _hand_over(self, client: _Client) -> None:
        if self._follow is None:
            self._refuse(client, "this monitor has no live feed")
            return
        self._selector.unregister(client.connection)
        if self._follow(client.connection):
            self._clients.remove(client)
            return
        self._selector.register(client.connection, selectors.EVENT_READ, client)
        self._refuse(client, "too many programs follow this monitor already")

    def _start(self, client: _Client, name: str, arguments: Mapping[str, Any]) -> None:
        if self._commands is None:
            self._refuse(client, f"this monitor knows no command {name!r:.80}")
            return
        others = sum(it not in REVIEWS for it in self._running)
        is_full = name not in REVIEWS and others >= MAX_COMMANDS - 1
        if is_full or len(self._running) >= MAX_COMMANDS:
            running = counted(len(self._running), "command")
            self._refuse(client, f"{running} run already; try it again")
            return
        thread = threading.Thread(
            target=self._do,
            args=(self._commands, client, name, arguments, self._wakeup),
            name="command",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:
            self._refuse(client, "the system has no more threads")
            return
        self._running.append(name)
        client.command = name
        client.is_waiting, client.deadline = True, monotonic() + COMMAND_SECONDS

    def _do(
        self,
        commands: Commands,
        client: _Client,
        name: str,
        arguments: Mapping[str, Any],
        wakeup: socket.socket,
    ) -> None:
        """Do a command.  On a thread of its own."""
        try:
            result = commands(name, arguments)
            answer = json.dumps({"ok": True, "result": result}, allow_nan=False)
        except ClosedError as error:
            answer = json.dumps({**_refused(str(error)), "again": True})
        except SoundMonitorError as error:
            answer = _refusal(str(error))
        except Exception as error:
            # A request must not end the monitor, whatever it lacks.
            logger.exception("the command %.80r failed", name)
            answer = _refusal(f"the command failed: {error!r:.200}")
        self._results.put((client, answer))
        with contextlib.suppress(OSError):  # full, so that it wakes; or closed
            wakeup.send(b".")

    def _give_results(self) -> None:
        while not self._results.empty():
            client, answer = self._results.get()
            self._running.remove(client.command)
            if client in self._clients and client.is_waiting:
                self._answer(client, answer)

    def _look_at_deadlines(self) -> None:
        now = monotonic()
        for client in [it for it in self._clients if it.deadline <= now]:
            if client.is_waiting:
                sentence = f"it takes longer than {COMMAND_SECONDS:g} s, and goes on"
                self._refuse(client, sentence)
            elif client.answer is None and not client.request:
                self._answer(client, self._answer_status())
            else:
                self._drop(client)

    def _refuse(self, client: _Client, sentence: str) -> None:
        self._answer(client, _refusal(sentence))

    def _answer(self, client: _Client, answer: str) -> None:
        client.is_waiting = False
        client.answer = memoryview(answer.encode("ascii") + b"\n")
        client.deadline = monotonic() + ANSWER_SECONDS
        with contextlib.suppress(KeyError):
            self._selector.unregister(client.connection)
        self._selector.register(client.connection, selectors.EVENT_WRITE, client)
        self._go_on(client)

    def _write(self, client: _Client) -> None:
        assert client.answer is not None
        client.answer = client.answer[client.connection.send(client.answer) :]
        if not client.answer:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._clients.remove(client)
        with contextlib.suppress(KeyError):
            self._selector.unregister(client.connection)
        client.connection.close()


def _refusal(sentence: str) -> str:
    return json.dumps(_refused(sentence))


def _refused(sentence: str) -> Document:
    return {"ok": False, "sentence": sentence}
