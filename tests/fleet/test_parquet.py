"""The Parquet files of archives and of the collector."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from monitor.fleet.parquet import EVENTS, event_row, parquet_file, table_of

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
