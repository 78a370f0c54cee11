"""Records over NATS: acknowledged when a stream of JetStream has stored them."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, MaxPayloadError
from nats.js.errors import NoStreamResponseError

from monitor.config.publish import FleetBroker
from monitor.errors import ConfigError
from monitor.sinks.alerts.secrets import read_secret
from monitor.sinks.publish.publisher import EncodedRecord, TransportError
from monitor.tls import no_connection, tls_context

OPEN_SECONDS = 10
SEND_SECONDS = 10.0
CLOSE_SECONDS = 0.5
SLICE_SECONDS = 0.05
MAX_IN_FLIGHT = 50
MAX_WANTED = 100

# It warns of what NATS does at each end of a connection with TLS.
logging.getLogger("asyncio").setLevel(logging.ERROR)

T = TypeVar("T")


def connect_options(
    settings: FleetBroker, place: Callable[[str], str], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Return the options of `NatsClient.connect`, with its secrets.

    `place` makes of a key of the settings what messages name.

    Raises:
        ConfigError: A secret or a file is missing or of the wrong form.
    """
    # Of itself, the library tries a server for two minutes before it says why not.
    options: dict[str, Any] = {
        "servers": [settings.target],
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0,
    }
    if settings.has_tls:
        context = tls_context(settings.ca_file, place("ca_file"))
        options |= {"tls": context, "tls_hostname": settings.place[0]}
    if settings.username is not None:
        options["user"] = settings.username
    if settings.password is not None:
        options["password"] = read_secret(settings.password, place("password"), environ)
    if settings.nkey is not None:
        seed = read_secret(settings.nkey, place("nkey"), environ)
        _check_seed(seed, place("nkey"))
        options["nkeys_seed_str"] = seed
    return options


class NatsClient(Client):
    """A client that insists on TLS where it is asked for.

    The library speaks TLS only if the server says so, and anybody between can say that
    there is none: the password would go in the clear.
    """

    async def _process_info(
        self, info: dict[str, Any], initial_connection: bool = False
    ) -> None:
        has_tls = info.get("tls_required", False)
        if initial_connection and "tls" in self.options and not has_tls:
            raise Error("the server offers no TLS")
        await super()._process_info(info, initial_connection=initial_connection)


def explain(target: str, error: BaseException) -> str:
    """Make a sentence of an error of a client."""
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return no_connection(target, error)
    is_late = isinstance(error, TimeoutError)
    reason = "no answer in time" if is_late else str(error) or "no answer"
    return f"{target}: {reason.removeprefix('nats: ')}"


def _check_seed(seed: str, place: str) -> None:
    import nkeys

    try:
        pair = nkeys.from_seed(seed.encode())
        pair.wipe()
    except Exception:  # noqa: BLE001 - the library raises what base64 and nacl do
        raise ConfigError(f"{place}: is no NKey seed, which begins with SU") from None


class NatsTransport:
    """Publishes to PREFIX.MONITOR.records; see `Transport`.

    The event loop runs only within the calls, on the thread that makes them.
    """

    def __init__(
        self, settings: FleetBroker, monitor: str, environ: Mapping[str, str]
    ) -> None:
        """Read secrets and certificates; connect to nothing.

        Raises:
            ConfigError: A secret or a file is missing or of the wrong form.
        """
        self._options = connect_options(settings, "publish.{}".format, environ)
        self._settings = settings
        self._monitor = monitor
        self._records = f"{settings.prefix}.{monitor}.records"
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._received: list[bytes] = []
        self._errors: list[str] = []

    @property
    def target(self) -> str:
        """The server and the subject."""
        return f"{self._settings.target}/{self._records}"

    @property
    def is_connected(self) -> bool:
        """False before `open`, and when the connection is lost."""
        return self._client is not None and self._client.is_connected

    def open(self) -> None:
        """Connect and subscribe."""
        self.close()
        self._loop = asyncio.new_event_loop()
        self._errors.clear()
        self._run(self._open())

    def send(self, messages: Sequence[EncodedRecord]) -> list[int]:
        """Send messages, a few at a time; wait until the stream has stored all."""
        return self._run(self._send(messages))

    def take_wanted(self) -> list[bytes]:
        """Return the requests of collectors."""
        received, self._received = self._received, []
        return received

    def wait(self, wakeup: threading.Event, seconds: float) -> None:
        """Run the event loop, which answers the server."""
        if self.is_connected:
            self._run(self._wait(wakeup, seconds))
        else:
            wakeup.wait(seconds)

    def cancel(self) -> None:
        """End what another thread waits for.  Any thread."""
        loop, task = self._loop, self._task
        if loop is not None and task is not None and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """Disconnect."""
        loop, client = self._loop, self._client
        self._client = None
        if loop is None or loop.is_closed():
            return
        loop.run_until_complete(_close(client))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None, "used before open"
        task: asyncio.Task[T] = self._loop.create_task(work)
        self._task = task
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError as error:
            raise TransportError(self._explain(error)) from None
        except NoStreamResponseError:
            raise TransportError(
                f"{self._settings.target} has no stream for {self._records}: the "
                "collector creates it"
            ) from None
        except (Error, OSError) as error:
            raise TransportError(self._explain(error)) from None
        finally:
            self._task = None

    def _explain(self, error: BaseException) -> str:
        """Make a sentence; the server says what is not permitted beside the answer."""
        return (self._errors or [explain(self._settings.target, error)])[-1]

    async def _open(self) -> None:
        self._client = NatsClient()
        await self._client.connect(
            **self._options,
            name=f"sound-monitor {self._monitor}",
            connect_timeout=OPEN_SECONDS,
            inbox_prefix=f"_INBOX.{self._monitor}",
            error_cb=self._note_error,
            disconnected_cb=self._note_loss,
        )
        wanted = f"{self._settings.prefix}.{self._monitor}.wanted"
        await self._client.subscribe(wanted, cb=self._receive)

    async def _send(self, messages: Sequence[EncodedRecord]) -> list[int]:
        assert self._client is not None, "used before open"
        jetstream = self._client.jetstream()
        too_large: list[int] = []
        turns = asyncio.Semaphore(MAX_IN_FLIGHT)

        async def send(index: int, each: EncodedRecord) -> None:
            headers = {"Nats-Msg-Id": each.key} if each.key else None
            async with turns:
                try:
                    await jetstream.publish(
                        self._records,
                        each.payload,
                        timeout=SEND_SECONDS,
                        headers=headers,
                    )
                except MaxPayloadError:
                    too_large.append(index)

        await asyncio.gather(*(send(index, it) for index, it in enumerate(messages)))
        return sorted(too_large)

    async def _wait(self, wakeup: threading.Event, seconds: float) -> None:
        for _ in range(round(seconds / SLICE_SECONDS)):
            if wakeup.is_set():
                return
            await asyncio.sleep(SLICE_SECONDS)

    async def _receive(self, message: Msg) -> None:
        if len(self._received) < MAX_WANTED:
            self._received.append(message.data)

    async def _note_error(self, error: Exception) -> None:
        self._errors.append(explain(self._settings.target, error))
        if self._task is not None and "permissions violation" in str(error).lower():
            self._task.cancel()  # there will be no answer

    async def _note_loss(self) -> None:
        if self._task is not None:
            self._errors.append(f"{self._settings.target}: the connection was lost")
            self._task.cancel()


async def _close(client: Client | None) -> None:
    with contextlib.suppress(Error, OSError):
        if client is not None:
            # With TLS it waits for the server, which may be gone.
            await asyncio.wait_for(client.close(), CLOSE_SECONDS)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
