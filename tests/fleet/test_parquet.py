"""The Parquet files of archives and of the collector."""

import math
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from monitor.fleet.parquet import (
    EVENTS,
    event_row,
    level_column,
    parquet_file,
    score_column,
    table_of,
)

RECORD = {
    "schema": 1,
    "type": "event",
    "id": "a/yard/siren/12",
    "source": "yard",
    "label": "siren",
    "start": "2026-11-30T21:00:00.123Z",
    "end": "2026-11-30T21:00:02.000Z",
    "start_sample": 12,
    "peak_score": 0.9312,
    "top": [["siren", 0.9312], ["dog_bark", 0.01]],
    "model": "urban",
}


def write(path: Path) -> None:
    rows = [event_row(RECORD, monitor="hut"), event_row({**RECORD, "start": None})]
    with parquet_file(path, EVENTS) as writer:
        writer.write_table(table_of(rows, EVENTS))


def test_a_record_of_the_event_log_is_a_row_that_duckdb_reads(tmp_path: Path) -> None:
    write(path := tmp_path / "events.parquet")
    with duckdb.connect() as database:
        found = database.execute(
            "SELECT monitor, label, epoch_ms(start), top[1].label, end_reason "
            "FROM read_parquet(?) WHERE start IS NOT NULL",
            [str(path)],
        ).fetchall()
    assert found == [("hut", "siren", 1796072400123, "siren", None)]
    assert pq.read_table(path).column("start").null_count == 1


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.parquet", tmp_path / "other.parquet"
    write(one)
    write(other)
    assert one.read_bytes() == other.read_bytes()


def test_a_file_that_fails_leaves_the_one_before_and_nothing_else(
    tmp_path: Path,
) -> None:
    write(path := tmp_path / "events.parquet")
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), parquet_file(path, EVENTS):
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_writer_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    path, other = tmp_path / "events.parquet", tmp_path / "other.parquet"
    (tmp_path / ".events.parquet.part").write_bytes(b"x" * 100_000)  # left by a kill
    write(other)
    rows = table_of([event_row(RECORD, monitor="hut")], EVENTS)
    with parquet_file(path, EVENTS) as writer:
        writer.write_table(rows)
        with pytest.raises(OSError, match="another run"):
            write(path)
        writer.write_table(rows)
    assert pq.read_table(path).num_rows == 2
    write(path)
    assert path.read_bytes() == other.read_bytes()
    assert sorted(tmp_path.iterdir()) == [path, other]


def test_a_level_that_is_not_finite_is_null_and_no_scores_are_an_empty_list() -> None:
    levels = level_column([-31.246, -math.inf, math.nan])
    assert levels.to_pylist() == [pytest.approx(-31.25), None, None]
    rows = [[0.12344, 0.5], [0.0, 0.0], [1.0, 0.0]]
    scores = score_column(rows, [True, False, True])
    assert scores.to_pylist() == [[pytest.approx(0.1234), 0.5], [], [1.0, 0.0]]
