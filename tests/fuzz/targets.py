"""Targets of the fuzzing: the readers of data that somebody else may have written."""

import json
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from monitor.commands.configuration import Configuration
from monitor.commands.configuration_check import check_configuration
from monitor.config.load import parse_config
from monitor.errors import SoundMonitorError
from monitor.sinks.console.plain import format_line
from monitor.sinks.encoding import encode_line
from monitor.sinks.event_log import erase_lines
from monitor.sinks.store.embeddings import read_embeddings
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.records import interrupted_records, read_rule_state
from tests.fuzz.bundle_file import BundleFile
from tests.fuzz.capture_pipe import CapturePipe
from tests.fuzz.card_files import CardFiles
from tests.fuzz.flipped_database import FlippedDatabase
from tests.fuzz.published_message import PublishedMessage
from tests.fuzz.seeds import RICH_CONFIG, WORDS
from tests.support import ROOT
from tests.support.embeddings import KEPT, embedded_frames
from tests.support.fuzzing import (
    INTERESTING,
    ODD_VALUES,
    Target,
    damaged,
    one_sentence,
    twisted,
)
from tests.support.store import AlertOnEverything, make_store
from tests.support.timed import event, gap, onset


class ModelFile:
    """`load_model` and the command `model`."""

    def __init__(self, folder: Path) -> None:
        from monitor.model.trained import save_model
        from tests.support.models import seeded_model
        from tests.support.recordings import SMALL_SPEC

        self._path = folder / "model"
        self._seeds = []
        for preset in ("article", "mobile"):
            save_model(self._path, seeded_model(preset, SMALL_SPEC))
            self._seeds.append(self._path.read_bytes())

    def make(self, rng: random.Random) -> bytes:
        # The large one is slower and differs in its last part only.
        seed = self._seeds[rng.random() < 0.1]
        length = int.from_bytes(seed[:8], "little")
        header, weights = seed[8 : 8 + length], seed[8 + length :]
        way = rng.random()
        if way < 0.2:
            return damaged(seed, rng)
        if way < 0.35:
            header = damaged(header, rng)
        elif way < 0.45:
            weights = damaged(weights, rng)
        else:
            fields = json.loads(header)
            if way < 0.6:
                fields = twisted(fields, rng)
            else:
                part = rng.choice(("spec", "card"))
                metadata = fields["__metadata__"]
                changed = twisted(json.loads(metadata[part]), rng)
                metadata[part] = json.dumps(changed)
            header = json.dumps(fields).encode()
        # A wrong length of the header is one of the mutations above.
        return len(header).to_bytes(8, "little") + header + weights

    def try_out(self, example: object) -> bool:
        from monitor.commands.app import run_command_line
        from monitor.model.classifier import Classifier
        from monitor.model.model_file import load_model

        assert isinstance(example, bytes)
        self._path.write_bytes(example)
        with (
            Path(os.devnull).open("w") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            code = run_command_line(["model", str(self._path)])
        assert code in (0, 1)
        try:
            classifier = Classifier(load_model(self._path), "cpu")
        except SoundMonitorError as error:
            one_sentence(error)
            return False
        assert code == 0
        spec = classifier.spec
        shape = (1, spec.channels, spec.n_mels, spec.window_frames)
        result = classifier.classify(np.zeros(shape, np.float32))
        assert np.isfinite(result.scores).all()
        return True


class ConfigFile:
    """The loader of the configuration and, for some examples, `check`."""

    def __init__(self, folder: Path) -> None:
        self._seeds = [
            (ROOT / "config.yaml").read_bytes(),
            RICH_CONFIG.encode(),
            RICH_CONFIG.encode(),
        ]

    def make(self, rng: random.Random) -> bytes:
        seed = rng.choice(self._seeds)
        lines = seed.splitlines(keepends=True)
        for _ in range(rng.choice((0, 1, 1, 2, 5))):
            place = rng.randrange(len(lines))
            match rng.randrange(4):
                case 0:
                    lines[place] = damaged(lines[place], rng)
                case 1:
                    key, colon, _ = lines[place].partition(b":")
                    word = rng.choice((*INTERESTING, *WORDS))
                    lines[place] = key + colon + b" " + word + b"\n"
                case 2:
                    lines[place:place] = lines[rng.randrange(len(lines)) :][
                        : rng.randrange(1, 6)
                    ]
                case _:
                    del lines[place]
                    lines = lines or [b""]
        text = b"".join(lines)
        return damaged(text, rng) if rng.random() < 0.3 else text

    def try_out(self, example: object) -> bool:
        assert isinstance(example, bytes)
        try:
            text = example.decode()
        except UnicodeDecodeError:
            return False
        try:
            config = parse_config(text, "fuzz.yaml")
        except SoundMonitorError as error:
            one_sentence(error)
            return False
        # `check` takes a hundred times as long as the loader.
        if hash(text) % 16 == 0:
            state_dir = Path(config.state_dir or "/nowhere")
            configuration = Configuration(config, state_dir, None, "fuzz")
            for problem in check_configuration(configuration, list).problems:
                one_sentence(Exception(problem), 2000)
        return True


class Records:
    """The readers of the event log and the database."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "events.jsonl"
        self._path = folder / "monitor.db"
        batch = [
            onset(number=1),
            event(number=1),
            gap(),
            onset(number=2, start_seconds=40.0),
        ]
        self._lines = b"".join(filter(None, map(encode_line, batch)))
        store = make_store(self._path, rules=AlertOnEverything(), settings=KEPT)
        store.write([*embedded_frames(20), *batch])
        store.close()
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            found = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' "
                "AND name NOT LIKE 'sqlite_%'"
            )
            self._columns = [
                (table, column[1])
                for (table,) in found.fetchall()
                for column in connection.execute(f"PRAGMA table_info({table})")
            ]
        self._database = self._path.read_bytes()

    def make(self, rng: random.Random) -> tuple[str, object]:
        way = rng.random()
        if way < 0.3:
            return "log", damaged(self._lines, rng)
        if way < 0.45:
            line = json.loads(self._lines.splitlines()[0])
            return "log", json.dumps(twisted(line, rng)).encode()
        if way < 0.65:
            return "file", damaged(self._database, rng)
        changes = []
        for _ in range(rng.choice((1, 1, 2, 4))):
            table, column = rng.choice(self._columns)
            changes.append((table, column, self._odd(rng)))
        return "rows", changes

    def _odd(self, rng: random.Random) -> object:
        value = rng.choice((*ODD_VALUES, *INTERESTING, "[[1]]", '[["a"]]', '{"a":'))
        if isinstance(value, int) and abs(value) >= 2**63:
            return 2**63 - 1
        return value if isinstance(value, int | float | str | bytes | None) else "[[]]"

    def try_out(self, example: object) -> bool:
        assert isinstance(example, tuple)
        kind, content = example
        if kind == "log":
            self._log.write_bytes(content)
            erase_lines(self._log, datetime(2026, 11, 23, 6, tzinfo=UTC))
            return True
        damage = content if kind == "file" else self._database
        for beside in self._path.parent.glob("monitor.db*"):
            beside.unlink()
        self._path.write_bytes(damage)
        if kind == "rows" and not self._change(content):
            return False
        return self._read()

    def _change(self, changes: list[tuple[str, str, object]]) -> bool:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            for table, column, value in changes:
                try:
                    connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
                except (sqlite3.Error, UnicodeError):
                    return False
        return True

    def _read(self) -> bool:
        try:
            with open_to_read(self._path) as reader:
                records = [*reader.events(), *reader.gaps(), *reader.health()]
                for timed in records:
                    encode_line(timed)
                    format_line(timed, datetime.now(UTC))
                reader.sessions()
                for row in reader.score_rows():
                    row.frames()
                for _ in read_embeddings(reader):
                    pass
            with closing(sqlite3.connect(self._path)) as connection:
                interrupted_records(connection, "another")
                read_rule_state(connection)
        except SoundMonitorError as error:
            one_sentence(error)
            return False
        except sqlite3.DatabaseError:
            return False  # the store sets such a file aside
        return True


TARGETS: dict[str, Callable[[Path], Target]] = {
    "model": ModelFile,
    "taught": CardFiles,
    "config": ConfigFile,
    "records": Records,
    "flips": FlippedDatabase,
    "pipe": CapturePipe,
    "bundle": BundleFile,
    "message": PublishedMessage,
}
