"""The database file: created, migrated, set aside when damaged."""

import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.errors import StoreError, StoreUnavailableError
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.schema import MIGRATIONS, statements
from tests.support.store import open_database


def pragma(database: Database, name: str) -> object:
    with closing(database.connect()) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_new_file_is_created_with_its_folder_for_its_owner_alone(
    tmp_path: Path,
) -> None:
    old_mask = os.umask(0)
    try:
        database = open_database(tmp_path / "state" / "monitor.db")
        with closing(database.connect()) as connection:
            connection.execute("INSERT INTO sources (name) VALUES ('street')")
            modes = {
                file.name: stat.S_IMODE(file.stat().st_mode)
                for file in (tmp_path / "state").iterdir()
            }
    finally:
        os.umask(old_mask)
    names = ("monitor.db", "monitor.db-wal", "monitor.db-shm")
    assert modes == dict.fromkeys(names, 0o600)


def test_files_that_others_could_read_are_restricted(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    with closing(open_database(path).connect()) as connection:
        connection.execute("INSERT INTO sources (name) VALUES ('street')")
        files = list(tmp_path.iterdir())
        assert len(files) == 3
        for file in files:
            file.chmod(0o644)
        open_database(path)
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "monitor.db").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreUnavailableError, match="symbolic link"):
        open_database(tmp_path / "monitor.db")
    assert not (tmp_path / "victim").exists()


def test_it_is_in_wal_mode_and_overwrites_deleted_rows(tmp_path: Path) -> None:
    database = open_database(tmp_path / "monitor.db")
    assert pragma(database, "journal_mode") == "wal"
    assert pragma(database, "secure_delete") == 1
    assert pragma(database, "foreign_keys") == 1
    assert pragma(database, "synchronous") == 2
    assert pragma(database, "user_version") == len(MIGRATIONS)


def test_preparing_it_again_releases_no_lock_of_an_open_connection(
    tmp_path: Path,
) -> None:
    database = open_database(tmp_path / "monitor.db")
    log = tmp_path / "monitor.db-wal"
    with closing(database.connect()) as connection:
        with transaction(connection):
            connection.execute("INSERT INTO sources (name) VALUES ('street')")
        before = log.stat().st_ino
        database.prepare()
        # The last connection to a database deletes the write-ahead log.
        script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        script += "c.execute('SELECT * FROM sources').fetchall(); c.close()"
        subprocess.run(
            [sys.executable, "-c", script, database.path], check=True, timeout=60
        )
        assert log.stat().st_ino == before


def test_an_old_version_is_migrated_step_by_step_and_keeps_its_rows(
    path: Path,
) -> None:
    Database(path, migrations=["CREATE TABLE a (x);\n"]).prepare()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO a VALUES (1)")
    later = [
        "CREATE TABLE a (x);\n",
        "ALTER TABLE a ADD COLUMN y DEFAULT 2;\nCREATE TABLE b (z);\n",
        "UPDATE a SET y = y + 1;\n",
    ]
    database = Database(path, migrations=later)
    database.prepare()
    database.prepare()
    with closing(database.connect()) as connection:
        assert connection.execute("SELECT * FROM a").fetchall() == [(1, 3)]
    assert pragma(database, "user_version") == 3


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    broken = "CREATE TABLE a (x);\nCREATE TABLE a (x);\n"
    with pytest.raises(StoreUnavailableError, match="already exists"):
        Database(path, migrations=[broken]).prepare()
    Database(path, migrations=["CREATE TABLE a (x);\n"]).prepare()


def test_several_may_prepare_it_at_once(path: Path) -> None:
    errors: list[BaseException] = []

    def prepare() -> None:
        try:
            open_database(path)
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_file_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()[:18]
    with pytest.raises(StoreError, match="version 99"):
        open_database(path)
    assert path.read_bytes()[:18] == before
    assert [file.name for file in tmp_path.glob("*.damaged*")] == []


def damage_everything(path: Path) -> None:
    path.write_bytes(b"no database at all, " * 500)


def damage_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 6] = os.urandom(4096 * 4)
    path.write_bytes(content)


def damage_the_end(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "damage", [damage_everything, damage_the_middle, damage_the_end]
)
def test_a_damaged_file_is_set_aside_and_logged(
    damage: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "monitor.db"
    open_database(path)
    assert callable(damage)
    damage(path)
    damaged = path.read_bytes()
    with pytest.raises(StoreError, match="is damaged"):
        open_database(path)
    database = Database(path)
    database.prepare()
    assert pragma(database, "user_version") == len(MIGRATIONS)
    (aside,) = (file for file in tmp_path.iterdir() if ".damaged-" in file.name)
    assert aside.read_bytes() == damaged
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert aside.name in caplog.text


def test_only_the_newest_damaged_files_are_kept(tmp_path: Path) -> None:
    """A card that fails may damage one database after the other."""
    path = tmp_path / "monitor.db"
    wall = datetime(2026, 11, 23, tzinfo=UTC)
    Path(f"{path}.damaged-1-20261123T000000000000Z-wal").touch()
    for hour in range(5):
        database = Database(path, lambda hour=hour: wall.replace(hour=hour))
        path.write_bytes(b"no database at all, " * 500)
        database.prepare()
    found = sorted(file.name for file in tmp_path.glob("*.damaged-*"))
    assert found == [
        f"monitor.db.damaged-{hour + 1}-20261123T{hour:02}0000000000Z"
        for hour in (2, 3, 4)
    ]


def test_the_newest_damaged_file_is_kept_though_the_clock_is_behind(
    tmp_path: Path,
) -> None:
    """A Pi without a battery begins in 1970, and the names of before in 2026."""
    path = tmp_path / "monitor.db"
    for hour in range(3):
        Path(f"{path}.damaged-20261123T{hour:02}0000000000Z").touch()
    for minute in range(2):
        behind = datetime(1970, 1, 1, 0, minute, tzinfo=UTC)
        database = Database(path, lambda behind=behind: behind)
        path.write_bytes(b"no database at all, " * 500)
        database.prepare()
    assert sorted(file.name for file in tmp_path.glob("*.damaged-*")) == [
        "monitor.db.damaged-1-19700101T000000000000Z",
        "monitor.db.damaged-2-19700101T000100000000Z",
        "monitor.db.damaged-20261123T020000000000Z",
    ]


def test_a_folder_that_cannot_be_created_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    path = tmp_path / "state" / "monitor.db"
    with pytest.raises(StoreUnavailableError, match=r"monitor\.db cannot be used"):
        open_database(path)


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path / "monitor.db")
    with closing(database.connect()) as connection:
        script = "INSERT INTO sources (name) VALUES (?)"
        with pytest.raises(sqlite3.IntegrityError), transaction(connection):
            connection.executemany(script, [("street",), ("street",)])
        assert connection.execute("SELECT count(*) FROM sources").fetchone() == (0,)


def test_every_migration_is_made_of_whole_statements() -> None:
    for script in MIGRATIONS:
        whole = re.sub(r"\nBEGIN\n.*?\nEND;", "\nEND;", script, flags=re.DOTALL)
        assert len(list(statements(script))) == whole.count(";\n")


def test_connecting_to_a_missing_file_creates_none(tmp_path: Path) -> None:
    database = Database(tmp_path / "monitor.db")
    with pytest.raises(StoreUnavailableError):
        database.connect()
    assert list(tmp_path.iterdir()) == []
