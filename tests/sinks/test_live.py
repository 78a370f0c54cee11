"""The live feed, with real timelines, columns and sockets."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from monitor.audio.columns import (
    BANDS,
    COLUMNS_PER_SECOND,
)
from monitor.clock import SystemClock
from monitor.records import Candidate, Timed
from monitor.sinks import live, live_readers
from monitor.sinks.encoding import encode
from monitor.sinks.live_readers import LiveReaders
from monitor.sinks.recent import Recent
from monitor.sinks.status_client import ask_recent
from tests.support.clock import DEADLINE_SECONDS, wait_until
from tests.support.live import RATE, Feed, Line
from tests.support.signals import sine
from tests.support.timed import LABELS, event, frame, gap, onset, statistics


@contextmanager
def feeding(path: Path, *sources: str, **values: Any) -> Iterator[Feed]:
    feed = Feed(path, sources or ("street",), **values)
    try:
        yield feed
    finally:
        feed.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "status.sock"


def first(lines: Iterator[Line], kind: str) -> Line:
    return next(line for line in lines if line["type"] == kind)


def columns_of(line: Line) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(line["data"]), np.uint8)
    return data.reshape(line["count"], BANDS)


def with_candidates(timed: Timed, *candidates: Candidate) -> Timed:
    return replace(timed, record=replace(timed.record, candidates=candidates))


def test_a_reader_is_greeted_and_gets_columns_of_the_sound(path: Path) -> None:
    with feeding(path, "street", "yard") as feed:
        feed.play(sine(1000, 2.0, 0.5, RATE))
        lines = feed.lines()
        hello = next(lines)
        assert hello["type"] == "hello"
        assert [each["name"] for each in hello["sources"]] == ["street", "yard"]
        assert hello["sources"][0]["labels"] == list(LABELS)
        assert len(hello["mel_hz"]) == 48
        assert next(lines)["document"]["schema"] == 1
        before = first(lines, "columns")
        feed.play(sine(4000, 1.0, 0.5, RATE))
        after = first(lines, "columns")
        recent = feed.recent.document
        feed.sink.write([frame(stop_seconds=4.0)])
        (kept,) = recent()["sources"]
        assert [each["data"] for each in kept["columns"]] == [
            before["data"],
            after["data"],
        ]
        lines.close()
        wait_until(lambda: recent()["sources"][0]["columns"] == [])
    assert before["source"] == after["source"] == "street"
    assert (before["count"], after["count"]) == (19, 10)
    for line, hertz in ((before, 1000), (after, 4000)):
        peak = hello["mel_hz"][int(columns_of(line)[5].argmax())]
        assert peak == pytest.approx(hertz, rel=0.06)


def test_the_time_of_columns_is_that_of_their_sound(path: Path) -> None:
    with feeding(path) as feed:
        feed.play(sine(1000, 60.0, 0.5, RATE))
        lines = feed.lines()
        next(lines)
        utc = SystemClock().utc()
        feed.play(sine(1000, 1.0, 0.5, RATE))
        count = 0
        while count < 155:  # of 15 s from before, and of that second
            line = first(lines, "columns")
            count += line["count"]
        lines.close()
    # The newest column ends up to a column and a frame before the newest sample.
    late = (utc - datetime.fromisoformat(line["time"])).total_seconds()
    assert -0.05 < late < 0.3


def test_what_ends_with_a_window_still_goes_on_in_it(path: Path) -> None:
    fallen = Candidate("siren", 0.63, 0.7, "threshold")
    scored = with_candidates(frame(stop_seconds=5.2, ongoing=["siren"]), fallen)
    with feeding(path) as feed:
        lines = feed.lines()
        next(lines)
        feed.sink.write([scored])
        found = next(it for it in lines if it["type"] == "scores")
        lines.close()
    (siren,) = found["top"]
    assert (siren["reason"], siren["going_on"]) == (None, True)
    assert [each["label"] for each in found["ongoing"]] == ["siren"]


def test_levels_scores_and_records_are_sent_as_they_come(path: Path) -> None:
    siren = Candidate("siren", 0.93, 0.7, None)
    bark = Candidate("dog_bark", 0.61, 0.6, "rival", "siren")
    drill = Candidate("drilling", 0.2, None, "silent")
    scored = with_candidates(
        frame(stop_seconds=5.2, ongoing=["siren"]), siren, bark, drill
    )
    with feeding(path) as feed:
        lines = feed.lines()
        next(lines)
        batch = [frame(stop_seconds=4.0), scored, onset(), event(), gap()]
        feed.sink.write(batch)
        feed.sink.announce({"type": "changed", "what": "mute"})
        kinds = ("scores", "levels", "onset", "event", "gap", "changed")
        found = [next(it for it in lines if it["type"] in kinds) for _ in kinds]
        lines.close()
    scores, levels, *records, changed = found
    assert scores["time"] == "2026-11-23T05:56:05.200Z"
    assert scores["top"] == [
        {
            "label": "siren",
            "score": 0.93,
            "threshold": 0.7,
            "reason": None,
            "going_on": True,
        },
        {
            "label": "dog_bark",
            "score": 0.61,
            "threshold": 0.6,
            "reason": "rival",
            "rival": "siren",
        },
        {"label": "drilling", "score": 0.2, "threshold": None, "reason": "silent"},
    ]
    (ongoing,) = scores["ongoing"]
    assert (ongoing["label"], ongoing["start"]) == ("siren", "2026-11-23T05:56:13.400Z")
    assert (levels["level_dbfs"], levels["laeq_db"]) == (-32.4, 52.1)
    assert records == [encode(timed) for timed in batch[2:]]
    assert changed == {"type": "changed", "what": "mute"}


def test_score_frames_wait_for_columns_and_events_do_not(path: Path) -> None:
    with feeding(path) as feed:  # its thread has not begun
        near, far = socket.socketpair()
        assert feed.readers.add(near)
        feed.readers.wakeup.clear()
        feed.sink.write([frame(stop_seconds=4.0), frame(stop_seconds=5.2)])
        assert not feed.readers.wakeup.is_set()
        feed.sink.write([frame(), onset()])
        assert feed.readers.wakeup.is_set()
        far.close()


def test_without_a_reader_nothing_is_done(path: Path) -> None:
    with feeding(path) as feed:
        for _ in range(3):
            feed.sink.report(statistics("street"))
            feed.sink.write([frame(), onset()])
            feed.sink.announce({"type": "changed", "what": "mute"})
        names = {thread.name for thread in threading.enumerate()}
        assert not feed.readers.wakeup.is_set()
    assert "live" not in names
    assert (feed.formats, feed.explained) == (0, [])


def test_reasons_are_asked_for_only_while_somebody_reads(path: Path) -> None:
    with feeding(path) as feed:
        lines = feed.lines()
        next(lines)
        wait_until(lambda: feed.explained == [True])
        lines.close()
        wait_until(lambda: feed.explained[-1] is False)
        assert feed.readers.count == 0
        feed.sink.write([onset()])
        again = feed.lines()
        assert next(again)["type"] == "hello"
        feed.sink.write([event(number=7)])
        kinds = [next(again)["type"]]
        while kinds[-1] != "event":
            kinds.append(next(again)["type"])
        again.close()
    assert "onset" not in kinds  # it came while nobody read


def test_a_reader_that_does_not_read_is_dropped_and_delays_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_readers, "STALLED_SECONDS", 0.5)
    long = event(label="x" * 10_000)
    with feeding(path) as feed, socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(path))
        idle.sendall(b'{"request": "live"}\n')
        lines = feed.lines()
        next(lines)
        wait_until(lambda: feed.readers.count == 2)
        began, found = monotonic(), 0
        while feed.readers.count == 2:
            feed.sink.write([long] * 5)
            found += len([first(lines, "event") for _ in range(5)])
            assert monotonic() - began < DEADLINE_SECONDS
        lines.close()
    assert found >= 25


def test_only_so_many_read_at_once(path: Path) -> None:
    with feeding(path) as feed:
        most = live_readers.MOST_READERS
        clients = [socket.socket(socket.AF_UNIX) for _ in range(most + 1)]
        for count, client in enumerate(clients):
            wait_until(lambda count=count: feed.readers.count == count)
            client.settimeout(DEADLINE_SECONDS)
            client.connect(str(path))
            client.sendall(b'{"request": "live"}\n')
        answer = json.loads(clients[-1].makefile("rb").readline())
        assert answer["sentence"] == "too many programs follow this monitor already"
        for client in clients:
            client.close()


def test_a_reload_keeps_the_readers_and_the_levels(path: Path) -> None:
    readers, recent = LiveReaders(), Recent()
    with feeding(path, readers=readers, recent=recent) as before:
        before.sink.write([frame(stop_seconds=4.0), frame(stop_seconds=5.2)])
        lines = before.lines()
        next(lines)
        before.socket.close()
        before.sink.close()
        other = path.with_name("other.sock")
        with feeding(other, "yard", readers=readers, recent=recent) as after:
            after.sink.report(statistics("yard"))
            after.play(sine(1000, 1.0, 0.5, RATE), "yard")
            hello = first(lines, "hello")
            assert [each["name"] for each in hello["sources"]] == ["yard"]
            assert first(lines, "columns")["source"] == "yard"
            street, yard = ask_recent([other])["sources"]
            lines.close()
    assert (street["name"], street["columns"]) == ("street", [])
    assert (yard["name"], yard["levels"]) == ("yard", [])
    assert street["levels"] == [["2026-11-23T05:56:05.200Z", -32.4, 52.1]]
    assert before.explained[-1] is False


def test_gaps_other_channels_and_a_lapped_ring_begin_the_columns_anew(
    path: Path,
) -> None:
    with feeding(path) as feed:
        lines = feed.lines()
        next(lines)
        feed.play(sine(1000, 1.0, 0.5, RATE))
        assert first(lines, "columns")["count"] == 9
        timeline = feed.timelines["street"]
        timeline.lose(RATE, "unplugged")
        feed.play(sine(1000, 1.0, 0.5, RATE, channels=2))
        line = first(lines, "columns")
        while line["count"] == 10 and not columns_of(line).any():
            line = first(lines, "columns")
        assert columns_of(line)[-1].max() > 200
        feed.play(sine(1000, 70.0, 0.5, RATE, channels=2))  # twice the ring
        count, last = 0, line
        while count < 100:
            last = first(lines, "columns")
            count += last["count"]
        lines.close()
    assert count <= 10 * 30
    assert columns_of(last)[-1].max() > 200


def test_sound_from_before_the_first_reader_is_shown(path: Path) -> None:
    with feeding(path) as feed:
        feed.play(sine(1000, 60.0, 0.5, RATE))
        lines = feed.lines()
        next(lines)
        count = 0
        while count < 149:
            count += first(lines, "columns")["count"]
        lines.close()
    assert count <= 150  # half of the ring: the rest may be overwritten meanwhile


def test_many_sources_are_read_a_little_at_a_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TURN_SECONDS", 1.0)
    names = [f"source-{number}" for number in range(6)]
    with feeding(path, *names) as feed:
        for name in names:
            feed.play(sine(1000, 5.0, 0.5, RATE), name)
        lines = feed.lines()
        counts = dict.fromkeys(names, 0)
        while min(counts.values()) < 49:
            line = first(lines, "columns")
            assert line["count"] <= COLUMNS_PER_SECOND
            counts[line["source"]] += line["count"]
        lines.close()
