"""Collectors on a NATS server: whoever dies, JetStream sends it to another one."""

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import StreamConfig

from monitor.config.publish import FleetBroker
from monitor.errors import ConfigError
from monitor.fleet.collect.nats import NatsSubscription
from monitor.fleet.collect.subscription import open_subscription
from tests.support.clock import wait_until
from tests.support.fleet import (
    PREFIX,
    Script,
    all_stored,
    collecting,
    collector_process,
    received,
    refused,
)
from tests.support.nats_server import (
    PUBLIC_KEY,
    SEED,
    NatsServer,
    documented_server,
    needs_nats,
    running_nats,
)
from tests.support.postgres import Postgres, needs_postgres

pytestmark = [
    pytest.mark.fleet,
    needs_postgres,
    needs_nats,
    pytest.mark.timeout(300),
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path) as broker:
        yield broker


async def create_stream(client: nats.NATS) -> None:
    """Create the stream as an earlier version did, which anybody could purge."""
    subjects = [f"{PREFIX}.*.records"]
    await client.jetstream().add_stream(StreamConfig(PREFIX, subjects=subjects))


def publish(
    broker: NatsServer, *scripts: Script, leave_out: int = 0, **login: Any
) -> None:
    """Publish all records of monitors, and wait until the stream has stored them."""

    async def run() -> None:
        client = await nats.connect(broker.url, connect_timeout=5, **login)
        jetstream = client.jetstream()
        for script in scripts:
            subject = f"{PREFIX}.{script.monitor}.records"
            for number, payload in script.messages.items():
                if number != leave_out:
                    await jetstream.publish(subject, payload)
        await client.close()

    asyncio.run(run())


def test_records_are_stored_once_and_leave_the_stream(
    server: Postgres, broker: NatsServer
) -> None:
    script = Script()
    script.add_many(80)
    with collecting(server, broker.url):
        publish(broker, script)
        publish(broker, script)
        wait_until(lambda: received(server) == "{[1,81)}")

        async def left() -> int:
            client = await nats.connect(broker.url)
            info = await client.jetstream().stream_info(PREFIX)
            await client.close()
            return info.state.messages

        wait_until(lambda: asyncio.run(left()) == 0)
    assert all_stored(server) == list(range(1, 81))


def test_a_monitor_is_asked_for_what_is_missing(
    server: Postgres, broker: NatsServer
) -> None:
    script = Script()
    script.add_many(9)
    asked: list[bytes] = []

    async def listen() -> None:
        client = await nats.connect(broker.url)
        wanted = await client.subscribe(f"{PREFIX}.yard.wanted")
        asked.append((await wanted.next_msg(timeout=20)).data)
        await client.close()

    with collecting(server, broker.url):
        publish(broker, script, leave_out=4)
        asyncio.run(listen())
    assert asked == [b'{"epoch": "0f0f0f0f", "ranges": [[4, 4]]}']


def test_of_two_collectors_one_is_killed_in_a_batch(
    server: Postgres, broker: NatsServer, tmp_path: Path
) -> None:
    scripts = [Script(f"m{number}") for number in range(5)]
    for script in scripts:
        script.add_many(300)
    with collector_process(server, broker.url, tmp_path / "a"):
        pass  # it creates the stream
    publish(broker, *scripts)
    with (
        collector_process(server, broker.url, tmp_path / "a"),
        collector_process(server, broker.url, tmp_path / "b") as victim,
    ):
        wait_until(lambda: all_stored(server, "m0"))
        victim.kill()
        for script in scripts:
            name = script.monitor
            wait_until(lambda name=name: received(server, name) == "{[1,301)}", name)
    for script in scripts:
        assert all_stored(server, script.monitor) == list(range(1, 301))
    assert refused(server) == {}


def test_the_server_is_killed_and_started(
    server: Postgres, broker: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    script, other = Script(), Script("garden")
    script.add_many(30)
    other.add_many(30)
    with caplog.at_level(logging.INFO), collecting(server, broker.url):
        publish(broker, script)
        wait_until(lambda: received(server) == "{[1,31)}")
        broker.stop()
        time.sleep(2)
        broker.start()
        publish(broker, other)
        wait_until(lambda: received(server, "garden") == "{[1,31)}")
    assert len([each for each in caplog.messages if "trying again" in each]) == 1
    assert caplog.messages[-1].endswith("again")


def test_the_permissions_of_the_documentation_let_a_collector_collect(
    server: Postgres, tmp_path: Path
) -> None:
    (place := tmp_path / "password").write_text("secret\n")
    script = Script()
    script.add_many(8)
    login = {"username": "collector", "password": f"file:{place}"}
    as_yard = {"user": "yard", "password": "secret", "inbox_prefix": b"_INBOX.yard"}
    with documented_server(tmp_path) as broker, collecting(server, broker.url, **login):
        publish(broker, script, **as_yard)
        wait_until(lambda: received(server) == "{[1,9)}")


@pytest.mark.parametrize("is_there", [False, True])
def test_no_acknowledgment_of_a_record_purges_the_stream(
    server: Postgres, tmp_path: Path, is_there: bool
) -> None:
    # The server publishes acknowledgments wherever the sender of a record says.
    targets = [
        *(f"$JS.API.STREAM.{it}.{PREFIX}" for it in ("PURGE", "DELETE", "MSG.DELETE")),
        *(f"$JS.API.STREAM.{it}.{PREFIX}" for it in ("UPDATE", "CREATE")),
        f"$JS.API.CONSUMER.DELETE.{PREFIX}.collect",
        f"{PREFIX}.garden.records",
    ]
    users = (
        "authorization { users: [ { user: c, password: c }, { user: y, password: y, "
        f'permissions: {{ publish: "{PREFIX}.y.records" }} }} ] }}'
    )

    async def attack() -> tuple[int, int]:
        monitor = await nats.connect(broker.url, user="y", password="y")
        for target in targets:
            await monitor.publish(f"{PREFIX}.y.records", b"x", reply=target)
        await monitor.flush()
        await asyncio.sleep(0.5)
        await monitor.close()
        client = await nats.connect(broker.url, user="c", password="c")
        state = (await client.jetstream().stream_info(PREFIX)).state
        await client.close()
        return state.messages, state.consumer_count

    async def prepare() -> None:
        client = await nats.connect(broker.url, user="c", password="c")
        await create_stream(client)
        await client.close()

    (place := tmp_path / "password").write_text("c\n")
    with running_nats(tmp_path, users) as broker:
        if is_there:
            asyncio.run(prepare())
        with collecting(server, broker.url, username="c", password=f"file:{place}"):
            pass
        # The last one came as a record of a monitor that is not its sender.
        assert asyncio.run(attack()) == (len(targets) + 1, 1)
        with collecting(server, broker.url, username="c", password=f"file:{place}"):
            wait_until(lambda: len(refused(server)) == 2)
    assert refused(server) == {
        ("y", "not-json"): len(targets),
        ("garden", "envelope"): 1,
    }


def test_a_collector_signs_in_with_an_nkey(server: Postgres, tmp_path: Path) -> None:
    (place := tmp_path / "seed").write_bytes(SEED)
    users = f"authorization {{ users: [ {{ nkey: {PUBLIC_KEY} }} ] }}"
    with (
        running_nats(tmp_path, users) as broker,
        collecting(server, broker.url, nkey=f"file:{place}") as collector,
    ):
        assert collector.subscription.is_connected


def test_a_seed_that_is_none_is_said_in_a_sentence(tmp_path: Path) -> None:
    (place := tmp_path / "seed").write_text("nonsense")
    broker = FleetBroker(url="nats://127.0.0.1", nkey=f"file:{place}")
    with pytest.raises(ConfigError, match="is no NKey seed"):
        open_subscription(broker, {})


def test_a_collector_says_why_it_has_no_connection(
    broker: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    def receive(url: str) -> str:
        subscription = open_subscription(FleetBroker(url=url), {})
        try:
            assert subscription.receive(1, 0.1) == []
        finally:
            subscription.close()
        return caplog.messages[-1]

    plain = f"tls://localhost:{broker.port}"
    assert f"{plain}: the server offers no TLS" in receive(plain)
    broker.stop()
    refused = f"no connection to {broker.url}: Connection refused"
    assert refused in receive(broker.url)


class Late:
    """Records whose library lets a timeout of asyncio through, as it does at times."""

    async def fetch(self, _most: int, timeout: float) -> Any:
        await asyncio.sleep(timeout)
        raise TimeoutError


def test_a_pause_that_ends_in_time_is_no_failure(
    broker: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    subscription = NatsSubscription(FleetBroker(url=broker.url), {})
    try:
        subscription.receive(1, 0.1)
        subscription._records = Late()
        assert subscription.receive(1, 0.01) == []
        assert subscription.is_connected
    finally:
        subscription.close()
    assert not caplog.messages
