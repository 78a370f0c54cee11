"""Monitors of a fleet without microphones: their stores and publishers, in one process.

`python -m tests.support.fleet_monitors JSON`, the fields of `Plan`.  Each monitor has
its own database, into which a script writes through the real store; the real publisher
sends what is there.  A line on stdin, `stop`, ends the script, and its end the process.
"""

import json
import logging
import resource
import select
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from sqlite3 import Connection

import numpy as np

from monitor.clock import SystemClock
from monitor.config.outputs import StoreSettings
from monitor.config.publish import PublishSettings
from monitor.errors import StoreBusyError
from monitor.records import Event, Gap, Health, HealthState, Onset, ScoreFrame, Timed
from monitor.sinks.publish import nats
from monitor.sinks.publish.mqtt import MqttTransport
from monitor.sinks.publish.nats import NatsTransport
from monitor.sinks.publish.publisher import Pauses, Publisher
from monitor.sinks.status_client import Document
from monitor.sinks.status_snapshot import DaemonFacts, SnapshotSettings, StatusTracker
from monitor.sinks.store.records import Session, insert, source_key, to_ms
from monitor.sinks.store.scores import FORMAT, encode_frames
from monitor.sinks.store.store import Store
from tests.support.scores import HOP, WINDOW, SimulatedNetwork, Sound
from tests.support.status import MODEL
from tests.support.timed import LABELS, SAMPLE_RATE, statistics

ABOUT = json.dumps({"version": "1.0", "site": "city", "scores": True})
FRAMES = 107
"""Frames of a minute."""

ANSWER_SECONDS = 1.0
"""A monitor answers a request of the collectors as often, not every ten seconds."""

LOST = 5
"""Records that a broker of `LOST_BY_BROKER` has taken and lost."""

NEVER_SENT, ROW_GONE, LOST_BY_BROKER, LOST_AND_DELETED, LOST_AND_AWAY = (
    "never-sent",  # deleted from the queue before it was sent
    "row-gone",  # the same with the row of scores
    "lost-by-broker",
    "lost-and-deleted",  # the second and third of them
    "lost-and-away",  # and the monitor is switched off before it is asked
)


@dataclass(frozen=True)
class Plan:
    """The monitors of a process."""

    folder: str
    """Where each has its folder."""

    urls: dict[str, str]
    """By monitor, its broker."""

    minute_seconds: float
    """In so long, each monitor writes what is a minute's worth."""

    losses: dict[str, str] = field(default_factory=dict)
    """By monitor, what goes wrong with it on purpose."""


def database_of(folder: Path, name: str) -> Path:
    return folder / name / "monitor.db"


def minutes_of_scores(seed: int) -> list[bytes]:
    """Blobs of minutes of a street, as the store encodes them."""
    network = SimulatedNetwork(LABELS, generator=np.random.default_rng(seed))
    blobs = []
    for k in range(8):
        sounds = [
            Sound(LABELS[(k + n) % len(LABELS)], at, at + 6 * SAMPLE_RATE)
            for n, at in enumerate(range(0, 60 * SAMPLE_RATE, 20 * SAMPLE_RATE))
        ]
        frames = network.frames(sounds, WINDOW + (FRAMES - 1) * HOP)
        noise = network.generator
        assert noise is not None
        blobs.append(encode_frames([_with_levels(each, noise) for each in frames]))
    return blobs


def _with_levels(frame: ScoreFrame, noise: np.random.Generator) -> ScoreFrame:
    level = float(frame.level_dbfs + noise.normal(0, 3))
    return replace(
        frame,
        level_dbfs=level,
        peak_level_dbfs=level + float(noise.uniform(3, 12)),
        laeq_db=level + 90,
    )


class ScriptedStatus(StatusTracker):
    """The status of the beginning: it takes a hundred times as long as to send it."""

    _document: Document | None = None

    def snapshot(self) -> Document:
        if self._document is None:
            self._document = super().snapshot()
        return self._document


class ScriptedMonitor:
    """A monitor whose records come from a script."""

    def __init__(self, plan: Plan, name: str, scores: Sequence[bytes]) -> None:
        path = database_of(Path(plan.folder), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = SystemClock()
        self._run = f"{name}-{time.time_ns():x}"
        session = Session(self._run, "urban", LABELS, SAMPLE_RATE, published=ABOUT)
        self._store = Store(path, StoreSettings(), session, self._clock)
        self._began = self._clock.utc()
        self._scores = scores
        self._minute = 0
        self.loss = plan.losses.get(name, "")
        if self.loss.startswith("lost"):
            self._lose()
        settings = PublishSettings(url=plan.urls[name])
        transport = (MqttTransport if settings.is_mqtt else NatsTransport)(
            settings, name, {}
        )
        snapshots = SnapshotSettings(path.parent, path, (), "cpu")
        self.publisher = Publisher(
            name,
            path,
            transport,
            plan.minute_seconds,
            ScriptedStatus(snapshots, DaemonFacts(), self._clock),
            self._clock,
            lambda _state, _detail: None,
            "city",
            Pauses(wanted=ANSWER_SECONDS),
        )

    def write_minute(self) -> None:
        """Write a minute's worth of records, and let them be published."""
        self._minute += 1
        batch = self._batch()
        self._store.write(batch)
        self._change(self._write_scores)
        self.publisher.write(batch)
        self.publisher.report(replace(statistics("street"), model=MODEL))

    def close(self) -> None:
        self.publisher.close()
        self._store.close()

    def _batch(self) -> list[Timed]:
        """The sound of the minute before ends, and another begins."""
        k, now = self._minute, self._clock.utc()
        records: list[Onset | Event | Gap | Health] = [self._onset(k)]
        if k > 1:
            records.append(Event(**asdict(self._onset(k - 1)), end_reason="offset"))
        if k % 10 == 4:
            records.append(Gap("street", k * HOP, k * HOP + 40_000, "stalled"))
        if k % 10 in (5, 7):
            name = f"{self._run}-health-{k // 10}"
            state: HealthState = "raised" if k % 10 == 5 else "cleared"
            records.append(Health("street", k, k, "clipping", state, "Loud.", name))
        return [self._timed(each, now) for each in records]

    def _timed(self, record: Onset | Event | Gap | Health, now: datetime) -> Timed:
        """The end is the time of the commit, by which latency is measured."""
        seconds = record.start / SAMPLE_RATE, record.stop / SAMPLE_RATE
        start = self._began + timedelta(milliseconds=record.start // 1000)
        return Timed(record, *seconds, start, now, reported_utc=now)

    def _onset(self, k: int) -> Onset:
        label = LABELS[k % len(LABELS)]
        return Onset(
            id=f"{self._run}-{k}",
            source="street",
            label=label,
            start=1000 * k,
            stop=1000 * k + 52_000,
            peak_score=round(0.6 + k % 400 / 1000, 3),
            mean_score=0.6,
            level_dbfs=-21.04,
            laeq_db=63.2,
            top=((label, 0.93), ("car_horn", 0.2), ("street_music", 0.1)),
            model="urban",
        )

    def _write_scores(self, connection: Connection) -> None:
        """Add the scores of a minute; those of the minute before are complete."""
        k = self._minute
        start = self._began - timedelta(hours=1) + timedelta(minutes=k)
        (session,) = connection.execute("SELECT max(id) FROM sessions").fetchone()
        insert(
            connection,
            "scores",
            {
                "session": session,
                "source": source_key(connection, "street"),
                "start_ms": to_ms(start),
                "end_ms": to_ms(start + timedelta(minutes=1)),
                "start_sample": k * FRAMES * HOP,
                "window_samples": WINDOW,
                "hop_samples": HOP,
                "frames": FRAMES,
                "format": FORMAT,
                "data": self._scores[k % len(self._scores)],
            },
        )
        if k == 3 and self.loss == NEVER_SENT:
            connection.execute(
                "DELETE FROM outgoing WHERE sequence = "
                "(SELECT max(sequence) FROM outgoing)"
            )
        if k == 3 and self.loss == ROW_GONE:
            connection.execute(
                "DELETE FROM scores WHERE id = (SELECT row FROM outgoing "
                "WHERE type = 'scores' ORDER BY sequence DESC LIMIT 1)"
            )

    def _lose(self) -> None:
        """Let a broker have taken the first records, and have lost them."""
        for _ in range(3):
            self._minute += 1
            self._store.write(self._batch())

        def lose(connection: Connection) -> None:
            connection.execute("UPDATE publishing SET acknowledged = ?", (LOST,))
            if self.loss == LOST_AND_DELETED:
                connection.execute("DELETE FROM outgoing WHERE sequence IN (2, 3)")

        self._change(lose)

    def _change(self, work: Callable[[Connection], object]) -> None:
        while True:
            try:
                self._store.change(work)
            except StoreBusyError:  # its publisher writes
                time.sleep(0.01)
            else:
                return


def main(plan: Plan) -> None:
    """Write and publish until told to stop."""
    logging.disable()  # each of them would say the same
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Twenty times a second for each would be all that this process does.
    nats.SLICE_SECONDS = 0.5
    scores = minutes_of_scores(1)
    monitors = [ScriptedMonitor(plan, name, scores) for name in plan.urls]
    begin, step, is_writing = time.monotonic(), 0, True
    _say("ready")
    while True:
        due = begin + step * plan.minute_seconds / len(monitors)
        wait = max(0.0, due - time.monotonic()) if is_writing else 60.0
        if select.select([sys.stdin], [], [], wait)[0]:
            if not sys.stdin.readline():
                break
            is_writing = False
            _say("stopped")
        elif is_writing:
            monitor = monitors[step % len(monitors)]
            monitor.write_minute()
            step += 1
            if monitor.loss == LOST_AND_AWAY:
                _switch_off(monitor)
                monitors.remove(monitor)
                begin, step = time.monotonic(), 0
    with ThreadPoolExecutor(len(monitors)) as pool:
        list(pool.map(ScriptedMonitor.close, monitors))


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _switch_off(monitor: ScriptedMonitor) -> None:
    """Switch a monitor off for good, once its broker has what it has not lost yet."""
    until = time.monotonic() + 30
    while time.monotonic() < until and monitor.publisher.document["pending"] != 0:
        time.sleep(0.02)
    monitor.close()


if __name__ == "__main__":
    main(Plan(**json.loads(sys.argv[1])))
