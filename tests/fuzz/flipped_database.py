"""A database with flipped bits, as a worn flash card has, in the running parts."""

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from monitor.errors import SoundMonitorError
from monitor.sinks.alerts.alert import Attempt
from monitor.sinks.alerts.outbox import Outbox, write_alerts
from monitor.sinks.alerts.pending import PendingAlerts
from monitor.sinks.alerts.rules import Rules
from monitor.sinks.encoding import encode_line
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.day_report import report_day
from monitor.sinks.store.forget import forget
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.selection import Selection
from monitor.sinks.store.store import Store
from tests.support.alerts import NOW, alert, rule
from tests.support.clock import FakeClock
from tests.support.fuzzing import one_sentence
from tests.support.health import trouble
from tests.support.store import make_store, open_database, score_frames
from tests.support.timed import (
    LABELS,
    OPENED,
    SAMPLE_RATE,
    event,
    gap,
    onset,
    statistics,
)

ALERTS = 60
ENDPOINT = "siren/webhook"


class FlippedDatabase:
    """The store, its readers and a sender, on one file from start to end.

    Nothing but a sentence may come of it: no other exception, no alert sent twice, and
    a file that can be used in the end.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "monitor.db"
        store = self._store("before")
        store.write([onset(number=1), trouble(), *score_frames(20), gap()])
        store.write([event(number=n, start_seconds=n) for n in range(2, 40)])
        store.write([onset(number=50, start_seconds=50.0)])
        store._writer.close()  # as if it was killed
        with closing(open_database(self._path).connect()) as connection:
            with transaction(connection):
                write_alerts(
                    connection, [alert(n, "siren/webhook") for n in range(ALERTS)]
                )
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._database = self._path.read_bytes()
        # Most of the file is free space, whose bits nobody reads.
        self._used = [at for at, byte in enumerate(self._database) if byte]
        self.delivered = 0

    def _store(self, run: str, database: Database | None = None) -> Store:
        settings = [rule(max_per_hour=2, on=["onset", "end", "health"])]
        rules = Rules(settings, dict.fromkeys(LABELS, 0.5), SAMPLE_RATE)
        clock = FakeClock()
        damage = (lambda: None) if database is None else database.take_reported
        return make_store(self._path, clock, run=run, rules=rules, damage=damage)

    def make(self, rng: random.Random) -> bytes:
        data = bytearray(self._database)
        for _ in range(rng.choice((1, 2, 8, 40, 200))):
            data[rng.choice(self._used)] ^= 1 << rng.randrange(8)
        return bytes(data)

    def try_out(self, example: object) -> bool:
        assert isinstance(example, bytes)
        for beside in self._path.parent.glob("monitor.db*"):
            beside.unlink()
        self._path.write_bytes(example)
        database = Database(self._path)
        try:
            store = self._store("after", database)
        except SoundMonitorError as error:
            one_sentence(error)
            return False
        store.write([onset(number=60), event(number=61), *score_frames(3, first=90)])
        pending = PendingAlerts(ENDPOINT, Outbox(database), FakeClock())
        numbers = self._deliver(pending)
        store.report(statistics())
        store.write([event(number=60), trouble("cleared")])
        numbers += self._deliver(pending)
        pending.close()
        store.close()
        assert not store.is_failing
        assert len(numbers) == len(set(numbers)), "an alert was delivered twice"
        self.delivered = len(numbers)
        self._read()
        return self.delivered > ALERTS / 2

    def _deliver(self, pending: PendingAlerts) -> list[str]:
        found: list[str] = []
        while (entry := pending.first()) is not None:
            found.append(entry.alert.id)
            assert len(found) < 2 * ALERTS
            entry = replace(entry, state="delivered")
            pending.record(entry, Attempt(NOW, "delivered", "", 0.1))
        return found

    def _read(self) -> None:
        try:
            with open_to_read(self._path) as reader:
                for timed in (*reader.events(), *reader.gaps(), *reader.health()):
                    encode_line(timed)
                report_day(reader, Selection(OPENED.date(), OPENED.date(), OPENED))
                reader.sessions()
            database = Database(self._path)
            with closing(Outbox(database, read_only=True)) as outbox:
                try:
                    for entry in outbox.entries():
                        outbox.attempts(entry.alert.id)
                except (sqlite3.Error, UnicodeDecodeError) as error:
                    # As the command `alerts` does.
                    raise database.failure(error) from None
            forget(self._path, None, NOW)
        except SoundMonitorError as error:
            one_sentence(error)
