"""The roll out of one monitor, with a server of bundles."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rollout import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    with fleet.server.serving() as fleet.url:
        fleet.begin()
        yield fleet
