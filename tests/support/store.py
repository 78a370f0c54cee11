"""Stores on disk, and simple rules that make alerts."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.config.outputs import StoreSettings
from monitor.records import Event, HealthState, HopLevels, Onset, ScoreFrame, Timed
from monitor.sinks.alerts.alert import Alert, AlertKind
from monitor.sinks.store.database import Database
from monitor.sinks.store.records import Session
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.timed import LABELS, SAMPLE_RATE, timed


@dataclass
class AlertOnEverything:
    """Rules that make an alert of each onset and event, and count."""

    count: int = 0
    due: list[Alert] = field(default_factory=list)
    """The alerts of the next tick."""

    def step(self, batch: Sequence[Timed], now: datetime) -> list[Alert]:
        alerts = []
        for each in batch:
            record = each.record
            if isinstance(record, Onset | Event):
                kind: AlertKind = "onset" if isinstance(record, Onset) else "end"
                self.count += 1
                alerts.append(self.alert(f"{record.id}/{kind}", kind, record.id, now))
        return alerts

    def tick(self, now: datetime) -> list[Alert]:
        due, self.due = self.due, []
        return due

    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]

    def forget(self) -> None:
        self.count = 0

    @staticmethod
    def alert(id_: str, kind: AlertKind, event_id: str | None, now: datetime) -> Alert:
        body = {"id": id_, "event": event_id}
        deadline = now + timedelta(hours=1)
        return Alert(id_, "all", "all/webhook", kind, event_id, body, now, deadline)


def session(name: str = "session") -> Session:
    return Session(name, "urban", LABELS, SAMPLE_RATE)


def make_store(
    path: Path,
    clock: FakeClock | None = None,
    *,
    run: str = "session",
    rules: AlertOnEverything | None = None,
    committed: Callable[[], None] = lambda: None,
    settings: StoreSettings | None = None,
    memory_records: int = 100,
    before: Store | None = None,
    damage: Callable[[], Exception | None] = lambda: None,
    health: Callable[[HealthState, str], None] = lambda _state, _detail: None,
) -> Store:
    return Store(
        path,
        settings or StoreSettings(),
        session(run),
        clock or FakeClock(),
        rules=rules,
        committed=committed,
        memory_records=memory_records,
        before=before,
        damage=damage,
        health=health,
    )


def score_frames(count: int, source: str = "street", first: int = 0) -> list[Timed]:
    """Score frames with exact hops; window n begins n hops after the opening."""
    hop, window = 24_576, 176_640
    frames = []
    for number in range(first, first + count):
        start = number * hop
        spans = ((start, start + window),) * len(LABELS)
        scores = (0.02,) * len(LABELS)
        frames.append(
            timed(
                ScoreFrame(
                    source,
                    start,
                    start + window,
                    scores,
                    spans,
                    -32.4,
                    -26.4,
                    52.1,
                    hop_levels=HopLevels(hop, 94.0, 55.5, (52.1,) * 5),
                )
            )
        )
    return frames


def open_database(path: Path) -> Database:
    """Prepare the database at `path` as a program beside the monitor."""
    database = Database(path)
    database.prepare(mends=False)
    return database


def rows(path: Path, query: str, *values: object) -> list[Any]:
    """Rows as another process sees them in the database now."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(query, values).fetchall()
    return [row[0] if len(row) == 1 else row for row in found]
