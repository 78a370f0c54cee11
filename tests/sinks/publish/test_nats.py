"""Records over a real NATS server: stored before they count as sent, and kept apart."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nats
import pytest
import trustme
from nats.js.api import StreamConfig

from monitor.config.publish import PublishSettings
from monitor.sinks.publish.nats import NatsTransport
from monitor.sinks.publish.record import encode_wanted
from tests.support.clock import wait_until
from tests.support.nats_server import (
    SEED,
    NatsServer,
    documented_server,
    needs_nats,
    running_nats,
)
from tests.support.publishing import (
    PREFIX,
    SHORT,
    Collected,
    is_whole,
    published_store,
    publishing,
)
from tests.support.store import open_database, rows
from tests.support.timed import event

pytestmark = [needs_nats, pytest.mark.fleet]


def transport(
    url: str, monitor: str = "yard", environ: Any = None, **more: Any
) -> NatsTransport:
    return NatsTransport(PublishSettings(url=url, **more), monitor, environ or {})


def create_stream(url: str, **login: Any) -> None:
    """Create the stream, as the collector does."""

    async def create() -> None:
        client = await nats.connect(url, **login)
        subjects = [f"{PREFIX}.*.records"]
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(PREFIX, subjects=subjects))
        await client.close()

    asyncio.run(create())


def stored(url: str, **login: Any) -> Collected:
    """Everything in the stream, in its order."""
    collected = Collected()

    async def read() -> None:
        client = await nats.connect(url, **login)
        stream = client.jetstream()
        state = (await stream.stream_info(PREFIX)).state
        for number in range(1, state.messages + 1):
            message = await stream.get_msg(PREFIX, number)
            assert message.data is not None
            collected.take(message.data, str(message.subject).split(".")[1])
        await client.close()

    asyncio.run(read())
    return collected


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats(tmp_path) as server:
        yield server


def test_without_a_stream_the_records_wait(path: Path, server: NatsServer) -> None:
    store = published_store(path)
    store.write([event(number=number) for number in range(150)])
    with publishing(path, transport(server.url)) as publisher:
        wait_until(lambda: "no stream" in (publisher.document["problem"] or ""))
        create_stream(server.url)
        wait_until(lambda: publisher.document["pending"] == 0)
        assert publisher.document["problem"] is None
    store.close()
    found = stored(server.url)
    assert found.sequences == sorted(found.sequences)
    assert is_whole(found.sequences)
    assert found.types().count("event") == 150


def test_a_server_that_is_killed_loses_nothing_and_stores_nothing_twice(
    path: Path, server: NatsServer
) -> None:
    create_stream(server.url)
    store = published_store(path)
    with publishing(path, transport(server.url)) as publisher:
        for number in range(90):
            store.write([event(number=number)])
            publisher.write([event()])
            if number in (30, 60):
                server.stop()
                server.start()
        store.close()
        wait_until(lambda: publisher.document["pending"] == 0)
    # As after a kill of the monitor, which knows less than the server.
    with open_database(path).connect() as connection:
        connection.execute("UPDATE publishing SET acknowledged = 0")
    connection.close()
    with publishing(path, transport(server.url)) as publisher:
        wait_until(lambda: publisher.document["pending"] == 0)
        wait_until(lambda: rows(path, "SELECT durable FROM publishing")[0] > 0)
    found = stored(server.url)
    assert is_whole(found.sequences)
    assert len(found.sequences) == len(set(found.sequences))
    assert len(found.ids()) == 90


def test_what_is_wanted_is_stored_again(path: Path, server: NatsServer) -> None:
    create_stream(server.url)
    store = published_store(path)
    store.write([event(number=number) for number in range(5)])
    store.close()
    pauses = replace(SHORT, wanted=0.0)
    with publishing(path, transport(server.url), pauses=pauses) as publisher:
        wait_until(lambda: publisher.document["pending"] == 0)
        before = stored(server.url)

        async def ask() -> None:
            client = await nats.connect(server.url)
            wanted = encode_wanted(before.epochs[0], [(2, 4)])
            await client.publish(f"{PREFIX}.yard.wanted", wanted)
            await client.close()

        asyncio.run(ask())
        wait_until(
            lambda: stored(server.url).sequences[len(before.sequences) :] == [2, 3, 4]
        )


def test_a_publisher_waits_for_the_store(path: Path, server: NatsServer) -> None:
    create_stream(server.url)
    open_database(path)
    with publishing(path, transport(server.url)) as publisher:
        publisher._thread.finish(0.3)  # it ends, and has not failed
        assert publisher.document["pending"] is None


def test_a_monitor_publishes_under_its_own_name_alone(
    tmp_path: Path, path: Path
) -> None:
    secrets = {"PASSWORD": "secret", "SEED": SEED.decode()}
    login = {"username": "yard", "password": "env:PASSWORD"}
    store = published_store(path)
    store.write([event()])
    store.close()
    with documented_server(tmp_path) as server:
        create_stream(server.url, user="collector", password="secret")
        own = transport(server.url, "yard", secrets, **login)
        with publishing(path, own) as publisher:
            wait_until(lambda: publisher.document["pending"] == 0)
        by_nkey = transport(server.url, "street", secrets, nkey="env:SEED")
        with open_database(path).connect() as connection:
            connection.execute("UPDATE publishing SET acknowledged = 0")
        connection.close()
        with publishing(path, by_nkey, "street") as publisher:
            wait_until(lambda: publisher.document["pending"] == 0)
        found = stored(server.url, user="collector", password="secret")
        assert {it.monitor for it in found.messages} == {"yard", "street"}
        with open_database(path).connect() as connection:
            connection.execute("UPDATE publishing SET acknowledged = 0")
        connection.close()
        as_another = transport(server.url, "street", secrets, **login)
        with publishing(path, as_another, "street") as publisher:
            wait_until(lambda: publisher.document["problem"])
            assert "ermissions violation" in publisher.document["problem"].lower()
        wrong = transport(server.url, "yard", {"PASSWORD": "wrong"}, **login)
        with publishing(path, wrong) as publisher:
            wait_until(lambda: publisher.document["problem"])
            assert "uthorization violation" in publisher.document["problem"].lower()
        after = stored(server.url, user="collector", password="secret")
        assert len(after.messages) == len(found.messages)


def test_tls_connects_only_to_a_trusted_server(tmp_path: Path, path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    own = authority.issue_cert("localhost")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    text = f'tls {{cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem"}}'
    store = published_store(path)
    store.close()
    with running_nats(tmp_path, text) as server:
        url = f"tls://localhost:{server.port}"
        foreign = transport(url, ca_file=str(tmp_path / "other.pem"))
        with publishing(path, foreign) as publisher:
            wait_until(lambda: publisher.document["problem"])
            assert publisher.document["problem"].startswith("no TLS connection to tls:")
        trusted = transport(url, ca_file=str(tmp_path / "ca.pem"))
        with publishing(path, trusted) as publisher:
            wait_until(lambda: publisher.document["problem"])
            assert "no stream" in publisher.document["problem"]


def test_tls_is_not_left_out_where_the_server_offers_none(
    path: Path, server: NatsServer
) -> None:
    create_stream(server.url)
    store = published_store(path)
    store.write([event()])
    store.close()
    with publishing(path, transport(f"tls://localhost:{server.port}")) as publisher:
        wait_until(lambda: publisher.document["problem"])
        assert publisher.document["problem"].endswith("the server offers no TLS")
        assert publisher.document["pending"]


def test_a_server_that_does_not_run_is_said_soon(
    path: Path, server: NatsServer
) -> None:
    server.stop()
    store = published_store(path)
    store.write([event()])
    store.close()
    with publishing(path, transport(server.url)) as publisher:
        wait_until(lambda: publisher.document["problem"])
        problem = publisher.document["problem"]
    assert problem == f"no connection to {server.url}: Connection refused"
