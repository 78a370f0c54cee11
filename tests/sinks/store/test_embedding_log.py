"""Embeddings are stored on request, in few writes, and leave like scores."""

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.config.outputs import StoreSettings
from monitor.sinks.store.embeddings import EmbeddingLog
from monitor.sinks.store.forget import count, forget
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.damage import damage_page
from tests.support.embeddings import KEPT, embedded_frames, numbers, read, store_all
from tests.support.store import make_store, open_database, rows, score_frames
from tests.support.timed import OPENED, SAMPLE_RATE, gap, statistics

HOP_SECONDS = 24_576 / SAMPLE_RATE
NUMBER = "SELECT coalesce(sum(frames), 0) FROM embeddings"


def at(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


def test_nothing_is_stored_unless_asked_for(path: Path) -> None:
    store = make_store(path)
    store.write(embedded_frames(20))
    store.close()
    assert rows(path, "SELECT sum(frames) FROM scores") == [20]
    assert rows(path, NUMBER) == [0]


def test_silence_takes_no_rows(path: Path) -> None:
    store_all(path, score_frames(300))
    assert rows(path, NUMBER) == [0]


def test_embeddings_of_another_length_or_after_a_gap_are_rows_of_their_own(
    path: Path,
) -> None:
    few = embedded_frames(30)
    many = embedded_frames(10, first=30, features=16)
    store_all(path, [*few[:10], gap(), *few[20:], *many])
    found = rows(path, "SELECT frames, features FROM embeddings ORDER BY start_ms")
    assert found == [(10, 8), (10, 8), (10, 16)]


def test_a_row_is_written_once_when_its_minute_is_over(path: Path) -> None:
    """Written again every ten seconds, it would be three to four times the bytes."""
    clock = FakeClock()
    store = make_store(path, clock, settings=KEPT)
    connection = store._writer._connection._connection
    assert connection is not None
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    for number, frame in enumerate(embedded_frames(220)):
        store.write([frame])
        clock.advance(HOP_SECONDS)
        store.report(statistics())
        if number == 90:
            assert rows(path, NUMBER) == [0]
    assert rows(path, "SELECT frames FROM embeddings") == [101, 101]
    written = [text for text in statements if " embeddings " in text]
    assert sum("INSERT" in text for text in written) == 2
    assert not any("UPDATE" in text for text in written)
    store.close()
    assert rows(path, "SELECT frames FROM embeddings") == [101, 101, 18]


def test_the_row_of_a_source_that_paused_is_written(path: Path) -> None:
    clock = FakeClock()
    store = make_store(path, clock, settings=KEPT)
    store.write(embedded_frames(10))
    for _ in range(3):
        clock.advance(10)
        store.report(statistics())
    assert rows(path, NUMBER) == [10]
    store.close()
    assert rows(path, NUMBER) == [10]


def test_what_waits_while_the_database_is_locked_is_written_once_and_bounded(
    path: Path,
) -> None:
    log = EmbeddingLog(memory_rows=3)
    for timed in embedded_frames(800):
        log.add(timed)
    store = make_store(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        log.write(connection, 1, ends=False)
        connection.execute("ROLLBACK")
        log.roll_back()
        log.commit()  # of records alone
        assert rows(path, NUMBER) == [0]
        for ends in (False, True, True):
            connection.execute("BEGIN")
            log.write(connection, 1, ends=ends)
            connection.execute("COMMIT")
            log.commit()
    store.close()
    starts = rows(path, "SELECT start_sample / 24576 FROM embeddings ORDER BY id")
    assert starts == [404, 505, 606, 707]
    assert rows(path, NUMBER) == [396]


def test_a_reload_that_turns_them_off_keeps_those_from_before(path: Path) -> None:
    frames = embedded_frames(60)
    store = make_store(path, settings=KEPT)
    store.write(frames[:30])
    store.close()
    after = make_store(path, before=store)
    after.write(frames[30:])
    after.close()
    assert numbers(read(path)) == list(range(30))


def test_a_store_that_follows_writes_what_the_one_before_could_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.sinks.store.writer.FINAL_LOCK_SECONDS", 0.01)
    store = make_store(path, settings=KEPT)
    store.write(embedded_frames(120))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.close()
        other.execute("ROLLBACK")
    after = make_store(path, before=store)
    after.close()
    assert numbers(read(path)) == list(range(120))


def test_forgotten_embeddings_are_gone_and_stay_away(path: Path) -> None:
    clock = FakeClock()
    store = make_store(path, clock, settings=KEPT)
    frames = embedded_frames(300)
    store.write(frames[:150])
    clock.advance(10)
    store.report(statistics())
    assert rows(path, NUMBER) == [101]
    expected = count(path, at(30))
    assert expected.embeddings == 101
    assert forget(path, at(30), at(87)) == expected
    assert rows(path, NUMBER) == [0]
    # The row that grows began before.
    store.write(frames[150:160])
    clock.advance(10)
    store.report(statistics())
    store.write(frames[160:])
    store.close()
    assert numbers(read(path)) == list(range(160, 300))


def test_earlier_embeddings_are_not_forgotten(path: Path) -> None:
    store_all(path, embedded_frames(250))
    assert forget(path, at(70), at(200)).embeddings == 149
    assert numbers(read(path)) == list(range(101))


def grow_old(store: Store, clock: FakeClock, seconds: float) -> None:
    clock.advance(seconds)
    for _ in range(40):
        clock.advance(1.0)
        store.report(statistics())


def test_embeddings_are_deleted_with_the_scores_of_their_time(path: Path) -> None:
    clock = FakeClock()
    clock.wall = at(3600)
    kept = StoreSettings(embeddings=True, keep_scores_days=2)
    store = make_store(path, clock, settings=kept)
    store.write(embedded_frames(250))
    grow_old(store, clock, 86_400)
    assert rows(path, NUMBER) == [250]
    grow_old(store, clock, 2 * 86_400)
    assert rows(path, NUMBER) == [0]
    store.close()


def test_above_its_size_the_oldest_of_both_are_deleted(path: Path) -> None:
    """Scores of weeks and embeddings of hours: those of hours stay."""
    clock = FakeClock()
    clock.wall = at(60_000)
    # Rows of one frame each.
    old = [timed for n in range(9000) for timed in score_frames(1, first=10 * n)]
    new = [
        timed
        for n in range(9000, 10_000)
        for timed in embedded_frames(1, first=10 * n, features=64)
    ]
    small = StoreSettings(embeddings=True, max_mib=1)
    store = make_store(path, clock, settings=small)
    store.write([*old, *new])
    store.close()
    assert rows(path, NUMBER) == [1000]
    store = make_store(path, clock, settings=small, run="next")
    grow_old(store, clock, 3600)
    assert 1000 < rows(path, "SELECT count(*) FROM scores")[0] < 9000
    assert rows(path, NUMBER) == [1000]
    pages, free = (
        rows(path, f"PRAGMA {n}")[0] for n in ("page_count", "freelist_count")
    )
    assert (pages - free) * 4096 <= 2**20
    store.close()


def test_a_bad_page_costs_its_own_embeddings_only(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store_all(path, embedded_frames(1010, features=384, noise=1000.0))
    blob: bytes = rows(path, "SELECT data FROM embeddings WHERE id = 5")[0]
    damage_page(path, blob[len(blob) // 2 :][:16])
    make_store(path, run="after").close()
    assert "10 of 10 minutes of scores" in caplog.text
    assert "9 of 10 minutes of embeddings" in caplog.text
    assert sum(len(part.values) for part in read(path)) == 909


def test_a_database_of_the_version_before_takes_embeddings(path: Path) -> None:
    dump = Path(__file__).with_name("version_3.sql")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text())
        connection.execute("PRAGMA user_version = 3")
    open_database(path)
    assert read(path) == []
    with open_to_read(path) as reader:
        (before,) = reader.sessions().values()
    assert before.embedding_id == ""
    store_all(path, embedded_frames(5), run="next")
    assert numbers(read(path)) == list(range(5))
