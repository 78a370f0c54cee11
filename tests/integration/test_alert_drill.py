"""Alerts survive kills: each reaches each endpoint, in order, with one id."""

import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from monitor.runtime.threads import Threads
from monitor.sinks.alerts.alert import alert_id
from tests.support import ROOT
from tests.support.alert_drill import build
from tests.support.endpoint import Endpoint, Talk, ok, running_endpoint, unused_port
from tests.support.timed import event, frame, onset


@dataclass(frozen=True)
class Drill:
    occurrences: int
    hop_seconds: float
    """Between the onset and the end of an occurrence, and the next one."""

    kills: int
    slow_seconds: float
    down_seconds: float


def slow(seconds: float) -> Any:
    def behave(talk: Talk) -> None:
        talk.closing.wait(seconds)
        talk.answer(200)

    return behave


def shaky() -> Any:
    """Answers, fails, breaks off: by turns."""
    turn = iter(range(1_000_000_000))

    def behave(talk: Talk) -> None:
        number = next(turn)
        if number % 40 == 7:
            talk.answer(503, Retry_After="0")
        elif number % 40 == 23:
            talk.connection.shutdown(socket.SHUT_RDWR)
        else:
            talk.answer(200)

    return behave


@pytest.mark.parametrize(
    "drill",
    [
        pytest.param(
            Drill(20, 0.03, 5, 0.01, 2.0), id="small", marks=pytest.mark.timeout(400)
        ),
        pytest.param(
            Drill(500, 0.008, 20, 0.02, 15.0),
            id="thousand",
            marks=[pytest.mark.soak, pytest.mark.timeout(1800)],
        ),
    ],
)
def test_every_alert_reaches_every_endpoint_over_kills_and_outages(
    drill: Drill, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    down_port = unused_port()
    with ExitStack() as stack:
        quick = stack.enter_context(running_endpoint(shaky()))
        late = stack.enter_context(running_endpoint(slow(drill.slow_seconds)))
        urls = [quick.url, late.url, f"http://localhost:{down_port}/hook"]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.alert_drill", str(tmp_path)),
                *(str(drill.occurrences), str(drill.hop_seconds), str(drill.kills)),
                *urls,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        threading.Event().wait(drill.down_seconds)
        down = stack.enter_context(running_endpoint(ok, port=down_port))
        out, _ = process.communicate(timeout=1500)
        assert process.returncode == 0
    figures = [
        examine(tmp_path, f"rule-{number}/webhook", endpoint, drill.occurrences)
        for number, endpoint in enumerate((quick, late, down))
    ]
    assert out.count(": -9,") == drill.kills
    # The kills met the monitor at work, and not only while it started or at its end.
    stored = [int(line.split()[2]) for line in out.splitlines()]
    assert len(set(stored) - {0, drill.occurrences}) >= drill.kills // 3
    with capsys.disabled():
        sys.stdout.write(
            f"\n{2 * drill.occurrences} alerts to 3 endpoints, {drill.kills} kills, "
            f"{time.monotonic() - began:.0f} s:\n"
        )
        names = ("shaky", "slow", f"down for {drill.down_seconds:g} s")
        for name, line in zip(names, figures, strict=True):
            sys.stdout.write(f"  {name}: {line}\n")


def examine(folder: Path, name: str, endpoint: Endpoint, occurrences: int) -> str:
    """Compare what arrived with what had to; return the figures."""
    arrived = [json.loads(request.body) for request in endpoint.requests]
    ids = [request.headers["webhook-id"] for request in endpoint.requests]
    assert [body["id"] for body in arrived] == ids
    expected = {
        (kind, f"session-street-{number}"): alert_id(
            name, kind, f"session-street-{number}"
        )
        for number in range(occurrences)
        for kind in ("onset", "end")
    }
    # Every one at least once, none invented, none with two ids.
    assert set(ids) == set(expected.values())
    for body in arrived:
        assert expected[body["kind"], body["event_id"]] == body["id"]
    # In the order in which they were made; one that comes again comes at once.
    with closing(sqlite3.connect(folder / "monitor.db")) as connection:
        rows = connection.execute(
            "SELECT id, state FROM alerts WHERE endpoint = ? ORDER BY sequence", (name,)
        ).fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = "SELECT count(*) FROM events WHERE end_reason IS NOT NULL"
        assert connection.execute(query).fetchone() == (occurrences,)
    assert not list(folder.glob("*damaged*"))
    assert {state for _, state in rows} == {"delivered"}
    assert [key for key, _ in groupby(ids)] == [key for key, _ in rows]
    interrupted = sum(
        body["end_reason"] == "interrupted"
        for body in {body["id"]: body for body in arrived}.values()
    )
    return (
        f"{len(set(ids))} of {len(expected)} arrived, in order, in {len(ids)} "
        f"requests; {interrupted} ends were interrupted by a kill"
    )


@pytest.mark.benchmark
def test_an_onset_is_at_the_webhook_within_a_tenth_of_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the call of the store, which the worker makes when it has detected it."""
    latencies = []
    with running_endpoint() as endpoint:
        store, alerting = build(tmp_path, [endpoint.url], "run")
        threads = Threads()
        alerting.start(threads)
        for number in range(100):
            began = time.monotonic()
            start = 10.0 + 5 * number
            window = frame(stop_seconds=start + 3, scores={"siren": 0.9})
            store.write([window, onset(start_seconds=start, number=number)])
            requests = endpoint.wait_for(2 * number + 1)
            latencies.append(requests[-1].at - began)
            store.write([event(start_seconds=start, seconds=2, number=number)])
            endpoint.wait_for(2 * number + 2)
        store.close()
        assert alerting.finish(threads, 5.0, lambda: False) == []
    latencies.sort()
    median, p95 = latencies[50], latencies[94]
    with capsys.disabled():
        sys.stdout.write(
            f"\nonset to webhook: median {1000 * median:.1f} ms, "
            f"95 % within {1000 * p95:.1f} ms\n"
        )
    assert p95 < 0.1
