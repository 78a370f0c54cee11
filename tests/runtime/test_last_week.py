"""The embeddings of the last week are those of the same network, in seconds of UTC."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.runtime.last_week import Week, last_week, models_kept
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.embeddings import KEPT, embedded_frames, store_all
from tests.support.store import session
from tests.support.timed import OPENED, SAMPLE_RATE

HOP_SECONDS = 24_576 / SAMPLE_RATE
WINDOW_SECONDS = 176_640 / SAMPLE_RATE
NETWORK = "a" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitor.db"


def week_of(
    path: Path, days: float = 1, model: str = "urban", features: int = 8
) -> Week | None:
    now = OPENED + timedelta(days=days)
    return last_week(path, now, model=model, network=NETWORK, features=features)


def test_each_window_has_its_end_and_each_call_begins_anew(path: Path) -> None:
    store_all(path, embedded_frames(150))
    week = week_of(path)
    assert week is not None
    for _ in range(2):
        blocks = list(week())
        seconds = [it for block in blocks for it in block.seconds.tolist()]
        assert {block.source for block in blocks} == {"street"}
        assert [len(block.seconds) for block in blocks] == [
            len(block.embeddings) for block in blocks
        ]
        first = OPENED.timestamp() + WINDOW_SECONDS
        assert seconds[0] == pytest.approx(first, abs=0.01)
        assert seconds[-1] == pytest.approx(first + 149 * HOP_SECONDS, abs=0.01)


def test_there_is_no_week_without_embeddings_of_the_model(path: Path) -> None:
    assert week_of(path) is None
    assert models_kept(path, OPENED) == ()
    store_all(path, embedded_frames(30))
    assert week_of(path, model="world") is None
    assert models_kept(path, OPENED + timedelta(days=1)) == ("urban",)
    assert models_kept(path, OPENED + timedelta(days=9)) == ()
    assert week_of(path, features=384) is None
    assert week_of(path, days=9) is None
    assert week_of(path) is not None


def test_what_made_the_embeddings_counts_more_than_the_name(path: Path) -> None:
    same = replace(session(), model="calibrated", embedding_id=NETWORK)
    store = Store(path, KEPT, same, FakeClock())
    store.write(embedded_frames(30))
    store.close()
    assert week_of(path) is not None
    path.unlink()
    replaced = replace(session(), embedding_id="b" * 64)
    store = Store(path, KEPT, replaced, FakeClock())
    store.write(embedded_frames(30))
    store.close()
    assert week_of(path) is None
