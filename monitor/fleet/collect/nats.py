"""The records of monitors from a NATS JetStream, by a durable pull consumer."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from monitor.config.publish import FleetBroker
from monitor.fleet.collect.database import Arrival
from monitor.fleet.collect.subscription import monitor_of_topic, option_of
from monitor.sinks.publish.nats import NatsClient, connect_options, explain

DURABLE = "collect"
ACK_SECONDS = 20.0
"""What a collector does not acknowledge in time is sent to another one."""

MOST_IN_FLIGHT = 20_000
"""Unacknowledged messages of all collectors together."""

STREAM_BYTES = 2**30
"""What the stream holds until it is collected; then monitors have to wait."""

REPEATED_SECONDS = 120.0
"""A message with the same id is taken once in so long."""

CONNECT_SECONDS = 5
PING_SECONDS = 20
LONGEST_SECONDS = 30.0
"""A server that hangs is left after so long."""

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_Failure = (nats.errors.Error, OSError)


class NatsSubscription:
    """One of the collectors of a stream, which shares its consumer with the others."""

    def __init__(self, broker: FleetBroker, environ: Mapping[str, str]) -> None:
        """Prepare; `receive` connects."""
        self._broker = broker
        self._options = connect_options(broker, option_of, environ)
        self._client: NatsClient | None = None
        self._records: JetStreamContext.PullSubscription | None = None
        self._has_failed = False
        self._noted: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats")
        self._thread.start()

    def receive(self, most: int, seconds: float) -> list[Arrival]:
        """See `Subscription`."""
        try:
            if self._records is None:
                self._records = self._run(self._subscribe())
                again = " again" if self._has_failed else ""
                logger.info("records are collected from %s%s", self._target, again)
                self._has_failed = False
            messages = self._run(self._fetch(self._records, most, seconds))
        except _Failure as error:
            self._warn(error)
            self._run(asyncio.sleep(seconds))
            return []
        now = datetime.now(UTC)
        return [
            Arrival(
                monitor_of_topic(message.subject.split(".")[1]),
                message.data,
                now,
                message,
            )
            for message in messages
        ]

    def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        """See `Subscription`."""

        async def acknowledge_all() -> None:
            for arrival in arrivals:
                await arrival.token.ack()

        try:
            self._run(acknowledge_all())
        except _Failure as error:
            self._warn(error)

    def send_wanted(self, monitor: str, payload: bytes) -> None:
        """See `Subscription`."""
        if self._client is not None:
            subject = f"{self._broker.prefix}.{monitor}.wanted"
            try:
                self._run(self._client.publish(subject, payload))
            except _Failure as error:
                self._warn(error)

    def close(self) -> None:
        """See `Subscription`."""
        with contextlib.suppress(*_Failure):
            self._run(self._disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def is_connected(self) -> bool:
        """See `Subscription`."""
        return self._records is not None

    @property
    def _target(self) -> str:
        return self._broker.target

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        return running.result(LONGEST_SECONDS)

    def _warn(self, error: BaseException) -> None:
        """Say once that the broker is away; connect anew."""
        self._records = None
        if not self._has_failed:
            self._has_failed = True
            if isinstance(error, nats.errors.NoServersError) and self._noted:
                error = self._noted  # the reason
            logger.warning("no records: %s; trying again", explain(self._target, error))

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        await self._disconnect()
        self._client = NatsClient()
        await self._client.connect(
            **self._options,
            connect_timeout=CONNECT_SECONDS,
            ping_interval=PING_SECONDS,
            error_cb=self._note,
        )
        jetstream = self._client.jetstream()
        prefix = self._broker.prefix
        records = f"{prefix}.*.records"
        try:
            config = (await jetstream.stream_info(prefix)).config
        except NotFoundError:
            await _create_stream(jetstream, prefix, records)
        else:
            if not (config.deny_purge and config.deny_delete):
                await jetstream.update_stream(
                    config.evolve(deny_purge=True, deny_delete=True)
                )
        return await jetstream.pull_subscribe(
            records,
            durable=DURABLE,
            stream=prefix,
            config=ConsumerConfig(
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_SECONDS,
                max_ack_pending=MOST_IN_FLIGHT,
            ),
        )

    async def _note(self, error: Exception) -> None:
        """Else, what breaks is seen by the call that it concerns."""
        self._noted = error

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            await client.close()

    @staticmethod
    async def _fetch(
        records: JetStreamContext.PullSubscription, most: int, seconds: float
    ) -> list[Msg]:
        try:
            return await records.fetch(most, timeout=seconds)
        except TimeoutError:  # of the library, or what it lets through of asyncio
            return []


async def _create_stream(jetstream: JetStreamContext, name: str, subject: str) -> None:
    """Create the stream, which holds messages until one collector has stored them."""
    try:
        await jetstream.add_stream(
            StreamConfig(
                name=name,
                subjects=[subject],
                retention=RetentionPolicy.WORK_QUEUE,
                storage=StorageType.FILE,
                max_bytes=STREAM_BYTES,
                discard=DiscardPolicy.NEW,
                duplicate_window=REPEATED_SECONDS,
                # The acknowledgment of a record goes to whatever subject its sender
                # names: to one of the server's API, it would purge the stream.
                deny_purge=True,
                deny_delete=True,
            )
        )
    except APIError as error:
        if error.err_code != 10058:  # another collector has created it
            raise
