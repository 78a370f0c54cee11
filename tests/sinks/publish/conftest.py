"""A broker with a collector, and a database to publish."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import Broker, running_broker
from tests.support.publishing import Collector, collecting


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database can be."""
    return tmp_path / "monitor.db"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def collector(broker: Broker) -> Iterator[Collector]:
    with collecting(broker.port) as collector:
        yield collector
