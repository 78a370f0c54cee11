"""A monitor without sources that is killed again and again.

`python -m tests.support.alert_drill FOLDER OCCURRENCES HOP_SECONDS KILLS URL...` has a
child store occurrences and deliver their alerts, one rule for each URL.  Store, rules,
outbox and senders are the real ones, only the records are made up.  The child is killed
at random moments; the last one is left to end.  Prints a line for each kill.
"""

import os
import random
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

# Imported before the forks, so that a child is up at once, and killed at work.
import monitor.sinks.alerts.hooks.webhook  # noqa: F401
from monitor.clock import SystemClock
from monitor.config.alerts import AlertSettings
from monitor.config.outputs import StoreSettings
from monitor.runtime.alerting import Alerting
from monitor.runtime.threads import Threads
from monitor.sinks.alerts.build import build_hooks
from monitor.sinks.alerts.rules import Rules
from monitor.sinks.store.database import Database
from monitor.sinks.store.records import Session
from monitor.sinks.store.store import Store
from tests.support.timed import LABELS, SAMPLE_RATE, event, frame, onset


def rules_for(urls: list[str]) -> list[AlertSettings]:
    return [
        AlertSettings.model_validate(
            {
                "name": f"rule-{number}",
                "on": ["onset", "end"],
                "webhook": {"url": url, "total_seconds": 2.0},
            }
        )
        for number, url in enumerate(urls)
    ]


def build(folder: Path, urls: list[str], run: str) -> tuple[Store, Alerting]:
    clock = SystemClock()
    settings = rules_for(urls)
    path = folder / "monitor.db"
    rules = Rules(settings, dict.fromkeys(LABELS, 0.6), SAMPLE_RATE)
    hooks = build_hooks(settings, os.environ)
    alerting = Alerting(rules, hooks, Database(path), clock)
    store = Store(
        path,
        StoreSettings(),
        Session(run, "urban", LABELS, SAMPLE_RATE),
        clock,
        rules=alerting,
        committed=alerting.confirm,
    )
    return store, alerting


def stored(folder: Path) -> int:
    """The number of occurrences in the database, also those that never ended."""
    path = folder / "monitor.db"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path, timeout=10)) as connection:
            return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
    except sqlite3.OperationalError:  # killed before the tables were made
        return 0


def store_and_deliver(
    folder: Path,
    occurrences: int,
    hop_seconds: float,
    urls: list[str],
    run: str,
    progress: int,
) -> None:
    """Store the remaining occurrences, then wait until all alerts are delivered.

    Writes a byte to `progress` for every step of this.
    """
    store, alerting = build(folder, urls, run)
    threads = Threads()
    alerting.start(threads)
    for number in range(stored(folder), occurrences):
        window = frame(stop_seconds=13 + number, scores={"siren": 0.9})
        store.write([window, onset(start_seconds=10 + number, number=number)])
        os.write(progress, b".")
        time.sleep(hop_seconds)
        store.write([event(start_seconds=10 + number, seconds=2, number=number)])
        os.write(progress, b".")
        time.sleep(hop_seconds)
    store.close()
    while outstanding(folder):
        os.write(progress, b".")
        time.sleep(0.05)
    alerting.finish(threads, 5.0, lambda: False)


def outstanding(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "monitor.db", timeout=10)) as connection:
        query = "SELECT count(*) FROM alerts WHERE state = 'pending'"
        return int(connection.execute(query).fetchone()[0])


def main(
    folder: Path, occurrences: int, hop_seconds: float, kills: int, urls: list[str]
) -> None:
    generator = random.Random(1)
    for number in range(kills + 1):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)  # So that it ends when the reader has ended.
            run = f"run-{number}"
            store_and_deliver(folder, occurrences, hop_seconds, urls, run, writing)
            os._exit(0)
        os.close(writing)
        if number == kills:
            end = wait_for(child)
            sys.exit(end)
        # Now and then while it starts, else so that the kills are spread over the work.
        if number % 5:
            steps = 2 * occurrences // kills
            for _ in range(1 + generator.randrange(steps)):
                os.read(reading, 1)
        time.sleep(generator.uniform(0, 2 * hop_seconds))
        os.kill(child, signal.SIGKILL)
        os.close(reading)
        end = wait_for(child)
        sys.stdout.write(f"{number}: {end}, {stored(folder)} occurrences\n")
        sys.stdout.flush()


def wait_for(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    folder, occurrences, hop_seconds, kills, *urls = sys.argv[1:]
    main(Path(folder), int(occurrences), float(hop_seconds), int(kills), urls)
