"""A database with a little of everything."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.store import make_store, score_frames
from tests.support.timed import OPENED, event, gap, onset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database can be."""
    return tmp_path / "monitor.db"


@pytest.fixture
def stored(path: Path) -> Path:
    """Three events, one that goes on, a gap, and 55 seconds of scores."""
    clock = FakeClock()
    clock.wall = OPENED + timedelta(seconds=1000)
    store = make_store(path, clock)
    store.write(
        [
            event(number=1, label="siren", start_seconds=10, seconds=5),
            event(number=2, label="dog_bark", start_seconds=20, source="yard"),
            event(number=3, label="siren", start_seconds=30, seconds=20),
            onset(number=4, label="drilling", start_seconds=45),
            gap(start_seconds=55, seconds=5),
            event(number=5, opened=None),
        ]
    )
    store.write(score_frames(91))
    store.close()
    return path
