"""Embeddings survive their form in the database, and are read by time and model."""

import sqlite3
import tracemalloc
import zlib
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import StoreError
from monitor.sinks.store.embeddings import (
    FORMAT,
    EmbeddingRow,
    encode,
    quantise,
    read_embeddings,
)
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.embeddings import (
    KEPT,
    embedded_frames,
    numbers,
    read,
    store_all,
    without,
)
from tests.support.store import rows, session
from tests.support.timed import OPENED, SAMPLE_RATE

NOW = datetime(2026, 11, 23, tzinfo=UTC)
HOP_SECONDS = 24_576 / SAMPLE_RATE
WINDOW_SECONDS = 176_640 / SAMPLE_RATE


def at(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


def stored(data: bytes, frames: int, features: int, form: int = FORMAT) -> EmbeddingRow:
    return EmbeddingRow(
        "session",
        "street",
        NOW,
        NOW,
        0,
        1000,
        100,
        frames,
        44_100,
        features,
        form,
        data,
    )


@st.composite
def vectors(draw: st.DrawFn) -> np.ndarray:
    features, frames = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    scale = draw(st.sampled_from([0.0, 1e-42, 1e-6, 0.3, 1e30]))
    one = st.lists(st.floats(-1, 1, width=32), min_size=features, max_size=features)
    values = draw(st.lists(one, min_size=frames, max_size=frames))
    return (scale * np.array(values)).astype(np.float32)


@settings(deadline=None, max_examples=50)
@given(vectors())
def test_values_come_back_within_half_a_step(written: np.ndarray) -> None:
    data = encode([quantise(each) for each in written], written.shape[1])
    back = stored(data, *written.shape).values()
    half = np.abs(written).max(axis=1, keepdims=True) / 254
    # The smallest numbers of all have no fractions: they may be lost altogether.
    allowed = np.where(half < 1e-38, 2e-40, 1.01 * half)
    assert back.dtype == np.float32
    assert (np.abs(back - written) <= allowed).all()


def test_embeddings_come_back_by_time_with_the_start_of_each_window(
    path: Path,
) -> None:
    store_all(path, [*embedded_frames(150, "yard", first=3), *embedded_frames(120)])
    found = read(path)
    assert [part.source for part in found] == ["street", "yard", "street", "yard"]
    street = [part for part in found if part.source == "street"]
    assert numbers(street) == list(range(120))
    assert all(len(part.starts) == len(part.values) for part in found)
    assert found[0].window_seconds == pytest.approx(WINDOW_SECONDS, abs=1e-6)
    assert found[0].values.shape[1] == 8
    for number, start in enumerate(start for part in street for start in part.starts):
        expected = at(number * HOP_SECONDS)
        assert abs(start - expected) < timedelta(milliseconds=2)


def test_windows_that_overlap_the_time_are_read(path: Path) -> None:
    store_all(path, embedded_frames(150))
    # Window n lasts from n hops to n hops and 4.005 s.
    since, until = (
        at(40 * HOP_SECONDS + WINDOW_SECONDS + 0.01),
        at(120 * HOP_SECONDS - 0.01),
    )
    assert numbers(read(path, since, until)) == list(range(41, 120))
    assert read(path, at(200), at(300)) == []
    assert read(path, at(-100), at(-1)) == []


def test_a_session_names_the_network_of_its_embeddings(path: Path) -> None:
    other = replace(session("second"), embedding_id="abc")
    store = Store(path, KEPT, other, FakeClock())
    store.write(embedded_frames(1))
    store.close()
    with open_to_read(path) as reader:
        assert reader.sessions()["second"].embedding_id == "abc"


def test_windows_without_an_embedding_are_left_out(path: Path) -> None:
    frames = embedded_frames(20)
    frames[:3] = map(without, frames[:3])  # they begin no row
    frames[7] = without(frames[7])
    broken = np.full(8, np.nan, np.float32)
    frames[9] = replace(frames[9], record=replace(frames[9].record, embedding=broken))
    store_all(path, frames)
    expected = [number for number in range(3, 20) if number not in (7, 9)]
    assert numbers(read(path)) == expected
    assert rows(path, "SELECT frames FROM embeddings") == [17]


def content(frames: int = 3, features: int = 4) -> bytes:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(frames, features)).astype(np.float32)
    return encode([quantise(each) for each in values], features)


@pytest.mark.parametrize("cut", [0, 1, 5, 20, -1])
def test_a_damaged_row_is_an_error_not_a_wrong_answer(cut: int) -> None:
    with pytest.raises(StoreError, match=r"embeddings of street at .* are damaged"):
        stored(content()[:cut], 3, 4).values()


@pytest.mark.parametrize(
    ("frames", "features"), [(2, 4), (3, 5), (4, 3), (0, 4), (3, 0), (2**40, 2**20)]
)
def test_a_row_of_another_size_is_damaged(frames: int, features: int) -> None:
    with pytest.raises(StoreError, match="are damaged"):
        stored(content(), frames, features).values()


@pytest.mark.parametrize("step", [np.nan, np.inf, -1.0])
def test_a_step_that_is_no_length_is_damaged(step: float) -> None:
    data = encode([(step, np.ones(4, np.int8))], 4)
    with pytest.raises(StoreError, match="a step is no length"):
        stored(data, 1, 4).values()


def test_a_row_of_an_unknown_format_is_named() -> None:
    with pytest.raises(StoreError, match="format 9 is unknown"):
        stored(content(), 3, 4, form=9).values()


def test_more_numbers_than_any_row_has_are_not_unpacked() -> None:
    frames, features = 2**13, 2**10
    parts = (np.ones(frames, "<f4").tobytes(), bytes(frames * features))
    data = b"".join(map(zlib.compress, parts))
    with pytest.raises(StoreError, match="their number is impossible"):
        stored(data, frames, features).values()


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(2**28), 9)
    tracemalloc.start()
    try:
        with pytest.raises(StoreError, match="longer than any"):
            stored(bomb, 10, 384).values()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2**26


def test_a_damaged_row_costs_itself_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store_all(path, embedded_frames(250))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE embeddings SET data = x'0102' WHERE id = 2")
    assert numbers(read(path)) == [*range(101), *range(202, 250)]
    (record,) = caplog.records
    assert "are damaged" in record.getMessage()


@pytest.mark.parametrize(
    "change",
    [
        "start_ms = 9223372036854775807",
        "frames = 0",
        "frames = -3",
        "hop_samples = 9223372036854775807",
        "window_samples = 1 << 40",
        "features = -1",
        "start_sample = -1",
    ],
)
def test_invalid_rows_are_left_out_and_counted(
    path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    store_all(path, embedded_frames(150))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE embeddings SET {change} WHERE id = 1")
    assert numbers(read(path)) == list(range(101, 150))
    (record,) = caplog.records
    assert record.getMessage().startswith("1 rows of the database are invalid")


def test_rows_are_read_one_by_one(path: Path) -> None:
    store_all(path, embedded_frames(101, features=384, noise=1000.0))
    columns = (
        "session, source, start_ms, end_ms, start_sample, window_samples, hop_samples, "
        "frames, features, format, data"
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        for _ in range(7):
            connection.execute(
                f"INSERT INTO embeddings ({columns}) SELECT {columns} FROM embeddings"
            )
    tracemalloc.start()
    try:
        with open_to_read(path) as reader:
            found = sum(len(part.values) for part in read_embeddings(reader))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == 128 * 101
    assert peak < 10 * 101 * 384 * 4
