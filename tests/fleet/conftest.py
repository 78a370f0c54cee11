"""One PostgreSQL for all tests, empty for each."""

from collections.abc import Iterator

import pytest

from monitor.fleet.collect.database import FleetDatabase
from tests.support.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def server(_postgres: Postgres) -> Postgres:
    with _postgres.connect() as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return _postgres


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A server for one test, which may kill it."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database(server: Postgres) -> Iterator[FleetDatabase]:
    database = FleetDatabase(server.url)
    yield database
    database.close()
