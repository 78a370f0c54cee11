"""The page Now and what it is filled with, with a real feed and a real database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.config.config import Config
from monitor.records import Gap, Timed
from monitor.sinks.status_client import query_status
from monitor.statistics import Listened
from monitor.text import utc_text
from monitor.web.app import build_app
from monitor.web.context import WebContext
from tests.support.clock import FakeClock, wait_until
from tests.support.levels import minutes, store_levels
from tests.support.live import Feed
from tests.support.status import FakeMonitor
from tests.support.store import make_store
from tests.support.timed import event, frame, statistics
from tests.support.web import WebClient, make_context

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def context(tmp_path: Path) -> WebContext:
    config = Config.model_validate(
        {
            "sources": [
                {"name": "street", "input": "mic:a", "level_offset_db": 94.0},
                {"name": "yard", "input": "mic:b"},
            ]
        }
    )
    return make_context(tmp_path, config=config)


def test_without_a_monitor_the_page_says_so_and_has_its_cards(
    context: WebContext,
) -> None:
    client = WebClient(build_app(context))
    text = client.get("/").text
    assert "The monitor is not running" in text
    assert 'data-source="street" data-unit="dB(A)"' in text
    assert 'data-source="yard" data-unit="dBFS(A)"' in text
    german = client.get("/", headers={"accept-language": "de"}).text
    assert "Der Monitor läuft nicht" in german
    assert recent(client) == {"sources": []}
    assert gaps(client) == {}


def gaps(client: WebClient) -> Any:
    return client.get("/now/gaps.json").json()


def recent(client: WebClient) -> Any:
    return client.get("/now/recent.json").json()


def test_levels_and_columns_from_before_come_from_the_monitor(
    context: WebContext,
) -> None:
    feed = Feed(context.sockets[0])
    try:
        client = WebClient(build_app(context))
        wait_until(lambda: "Asking the monitor" in client.get("/").text)
        text = client.get("/").text
        for second in range(4):
            feed.sink.write([frame(stop_seconds=4.0 + second)])
        feed.sink.write([event("street")])
        (street,) = recent(client)["sources"]
    finally:
        feed.close()
    assert 'data-source="street"' in text
    assert "yard" not in text  # it is configured, and does not run
    assert street["name"] == "street"
    assert [level for _, *level in street["levels"]] == [[-32.4, 52.1]] * 3
    assert [each["label"] for each in street["events"]] == ["siren"]


def test_what_was_not_listened_to_in_a_day_is_summed_up_and_listed(
    context: WebContext,
) -> None:
    """Gaps, and the times between the runs of the monitor and since the last one."""
    now = datetime.now(UTC)

    def ago(hours: float) -> datetime:
        return now - timedelta(hours=hours)

    for run, begin, end in (("a", 30, 3), ("b", 2, 1)):
        clock = FakeClock()
        clock.wall = ago(begin)
        assert context.database is not None
        store = make_store(context.database, clock, run=run)
        if run == "a":
            lost = Gap("street", 0, 44_100, "unplugged")
            for hours in (29, 5):  # the first is older than a day
                stop = ago(hours) + timedelta(seconds=36)
                store.write([Timed(lost, 0.0, 36.0, ago(hours), stop)])
        clock.wall = ago(end)
        store.close()
    assert context.database is not None
    for source in ("street", "yard"):
        store_levels(context.database, minutes(ago(24), 5, 60.0, source=source))
    document = gaps(WebClient(build_app(context)))
    street, yard = document["street"], document["yard"]
    assert [each["reason"] for each in street["newest"]] == ["off", "off", "unplugged"]
    assert [each["seconds"] for each in street["newest"]] == pytest.approx(
        [3600, 3600, 36], abs=5
    )
    assert street["newest"][1]["start"] == utc_text(ago(3))
    assert (street["count"], yard["count"]) == (3, 2)
    assert street["of_seconds"] == pytest.approx(86_400, abs=5)
    assert street["share"] == pytest.approx(1 - 7236 / 86_400, abs=1e-4)
    assert yard["share"] == pytest.approx(1 - 7200 / 86_400, abs=1e-4)


def test_a_monitor_that_runs_is_not_off_and_the_first_day_is_shorter(
    context: WebContext,
) -> None:
    clock = FakeClock()
    clock.wall = datetime.now(UTC) - timedelta(hours=2)
    assert context.database is not None
    store = make_store(context.database, clock)
    store_levels(context.database, minutes(clock.wall, 5, 60.0))
    new = datetime.now(UTC) - timedelta(seconds=10)
    lost = Gap("new", 0, 44_100, "unplugged")
    store.write([Timed(lost, 0.0, 10.0, new, datetime.now(UTC))])
    feed = Feed(context.sockets[0])
    try:
        wait_until(lambda: query_status(context.sockets)["running"])
        wait_until(lambda: "new" in gaps(WebClient(build_app(context))))
        document = gaps(WebClient(build_app(context)))
    finally:
        feed.close()
        store.close()
    street = document["street"]
    assert (street["count"], street["share"]) == (0, 1.0)
    # What was added since was not listened to before.
    assert document["new"]["of_seconds"] < 60
    assert document["new"]["share"] < 1
    assert street["of_seconds"] == pytest.approx(7200, abs=60)


def test_the_first_seconds_of_a_monitor_are_no_gap(
    context: WebContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that opens is not silent, and one without an hour has the true share."""
    clock = FakeClock()
    clock.wall = datetime.now(UTC) - timedelta(seconds=40)
    assert context.database is not None
    store = make_store(context.database, clock)
    monitor = FakeMonitor(context.state_dir)
    monitor.daemon.began, monitor.clock.wall = clock.wall, datetime.now(UTC)
    (street,) = statistics("street").sources
    (yard,) = statistics("yard", state="opening").sources
    lost = clock.wall + timedelta(seconds=36)
    store.write(
        [
            Timed(
                Gap("street", 0, 44_100, "unplugged"), 0.0, 1.0, lost, lost + 1 * SECOND
            )
        ]
    )
    heard = Listened(40.0, 0.975)
    newest = datetime.now(UTC)
    monitor.report(
        sources=(
            replace(street, last_sample=newest, listened_day=heard),
            replace(yard, last_sample=newest),
        )
    )
    monkeypatch.setattr(
        "monitor.web.pages.now.query_status", lambda _: monitor.snapshot
    )
    document = gaps(WebClient(build_app(context)))
    store.close()
    assert document["street"]["of_seconds"] == pytest.approx(40, abs=5)
    assert document["street"]["share"] == pytest.approx(39 / 40, abs=0.01)
    assert document.get("yard", {"count": 0})["count"] == 0


def test_after_the_end_of_a_demo_nothing_is_missing(tmp_path: Path) -> None:
    demo = Config.model_validate({"sources": [{"name": "demo", "input": "demo:"}]})
    context = make_context(tmp_path, config=demo)
    assert context.database is not None
    clock = FakeClock()
    clock.wall = datetime.now(UTC) - timedelta(minutes=5)
    store = make_store(context.database, clock)
    clock.wall += MINUTE
    store.close()
    store_levels(context.database, minutes(clock.wall - MINUTE, 1, 60.0, source="demo"))
    client = WebClient(build_app(context))
    over = "The demo is over, or has not begun yet"
    for page in ("/", "/system"):
        text = client.get(page).text
        assert over in text
        assert "not running" not in text
    found = gaps(client)["demo"]
    assert (found["share"], found["count"]) == (1.0, 0)


def test_a_microphone_that_was_never_there_was_not_listened_to(
    context: WebContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not over is no gap of the database yet; the monitor tells of it."""
    clock = FakeClock()
    clock.wall = datetime.now(UTC) - timedelta(hours=2)
    assert context.database is not None
    store = make_store(context.database, clock)
    monitor = FakeMonitor(context.state_dir)
    monitor.daemon.began, monitor.clock.wall = clock.wall, datetime.now(UTC)
    (yard,) = statistics("yard").sources
    never = replace(yard, state="waiting", last_sample=None)
    monitor.report(sources=(never,))
    for page in ("now", "diary"):
        monkeypatch.setattr(
            f"monitor.web.pages.{page}.query_status", lambda _: monitor.snapshot
        )
    client = WebClient(build_app(context))
    found = gaps(client)["yard"]
    assert (found["share"], found["count"]) == (0.0, 1)
    assert found["of_seconds"] == pytest.approx(7200, abs=60)
    table = client.get("/diary.csv").text
    store.close()
    lines = [line.split(",") for line in table.splitlines() if "stalled" in line]
    assert [line[:2] for line in lines] == [["not-listened", "yard"]]
    assert float(lines[0][5]) == pytest.approx(7200, abs=60)
