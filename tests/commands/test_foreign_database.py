"""No command writes to a database of another program or of another version."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.errors import StoreError
from monitor.sinks.store.database import Database
from monitor.sinks.store.schema import APPLICATION_ID, MIGRATIONS
from tests.support.store import make_store, rows

READERS = (
    ["events"],
    ["report"],
    ["replay"],
    ["alerts", "list"],
    ["alerts", "show", "a"],
)
WRITERS = (
    ["forget", "--all"],
    ["forget", "--since", "1h"],
    ["alerts", "retry", "a"],
    ["alerts", "drop", "a"],
)


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (events TEXT)")
        connection.commit()


def with_another_id(path: Path) -> None:
    Database(path).prepare()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 7")
        connection.execute("PRAGMA journal_mode = DELETE")


def of_a_newer_version(path: Path) -> None:
    Database(path, migrations=[*MIGRATIONS, "CREATE TABLE more (x);\n"]).prepare()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def of_an_older_version(path: Path) -> None:
    Database(path, migrations=MIGRATIONS[:-1]).prepare()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


@pytest.mark.parametrize(
    ("make", "sentence", "command"),
    [
        *((of_another_program, "another program", c) for c in (*READERS, *WRITERS)),
        *((with_another_id, "another program", c) for c in (*READERS, *WRITERS)),
        *((of_a_newer_version, "a newer one wrote", c) for c in (*READERS, *WRITERS)),
        # Commands that write bring it up to date.
        *((of_an_older_version, "an older one wrote", c) for c in READERS),
    ],
)
def test_a_command_says_so_and_changes_nothing(
    make: Callable[[Path], None],
    sentence: str,
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "monitor.db"
    make(path)
    before = path.read_bytes()
    (tmp_path / "config.yaml").write_text(f"state_dir: {tmp_path}\n")
    config = ["--config", str(tmp_path / "config.yaml")]
    assert run_command_line([*command, *config]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert path.read_bytes() == before


def test_a_monitor_leaves_the_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    of_another_program(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="choose another store"):
        make_store(path)
    assert path.read_bytes() == before


def test_a_database_of_an_earlier_version_gets_the_id(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    of_an_older_version(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 0")
    make_store(path).close()
    assert rows(path, "PRAGMA application_id") == [APPLICATION_ID]
