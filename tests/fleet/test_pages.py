"""The pages of a fleet over a real database that a collector has filled."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest

from monitor.errors import StoreError
from monitor.fleet.collect.database import Arrival, FleetDatabase
from monitor.fleet.collect.schema import MIGRATIONS
from monitor.web.fleet.app import build_fleet_app
from monitor.web.fleet.context import FleetContext
from monitor.web.fleet.queries import MOST_LABELS, PAGE_EVENTS, SCHEMA_VERSION
from tests.support.fleet import Script, now
from tests.support.postgres import Postgres, needs_postgres
from tests.support.web import WebClient, make_config
from tests.test_recipes import dashboard

pytestmark = [pytest.mark.fleet, needs_postgres]

Fill = Callable[..., None]


@pytest.fixture
def fill(server: Postgres) -> Fill:
    """Collect the records of scripts, and messages as they are."""

    def write(*scripts: Script, more: tuple[Arrival, ...] = ()) -> None:
        database = FleetDatabase(server.url)
        arrivals = [each for script in scripts for each in script.arrivals()]
        database.write([*arrivals, *more])
        database.close()

    return write


@pytest.fixture
def client(server: Postgres, tmp_path: Path) -> WebClient:
    return WebClient(build_fleet_app(context_of(server.url, tmp_path)))


def context_of(url: str, folder: Path) -> FleetContext:
    return FleetContext(
        config=make_config(language="en"),
        state_dir=folder,
        database=None,
        clips=None,
        sockets=(),
        version="1.2",
        fleet=url,
    )


def text_of(html: str) -> str:
    """What a person reads, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def page(client: WebClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return text_of(answer.text)


def yard() -> Script:
    script = Script("yard")
    script.add("session", site="north")
    script.add("event")
    script.add("event", label="dog_bark", peak_score=0.4)
    script.add("onset", label="street_music")
    script.add("scores")
    script.add("digest", bundle="7", site="north")
    return script


def gate() -> Script:
    script = Script("gate", "aaaaaaaa", ahead=timedelta(seconds=30))
    script.add("session", site="south")
    since = (now() - timedelta(minutes=9)).isoformat().replace("+00:00", "Z")
    trouble = {
        "source": "street",
        "kind": "deaf",
        "since": since,
        "detail": "<no> frames",
    }
    script.add("digest", listening=False, health=[trouble], site="south", last=14)
    return script


def test_monitors_come_deaf_ones_first_with_clock_and_trouble(
    fill: Fill, client: WebClient
) -> None:
    fill(yard(), gate())
    text = page(client, "/")
    assert text.index("gate") < text.index("yard")
    assert "The fleet of 2 monitors listened" in text
    assert "1 is deaf since" in text
    assert "30 s ahead" in text
    assert "not listening (street): <no> frames" in text
    assert "gate" not in page(client, "/?site=north").partition("Trouble")[2]


def test_events_of_all_monitors_are_chosen_by_label_monitor_site_and_score(
    fill: Fill, client: WebClient
) -> None:
    other = Script("gate", "aaaaaaaa")
    other.add("session")
    other.add("event", label="drilling")
    fill(yard(), other)
    every = page(client, "/events")
    assert [every.count(f" {it} ") for it in ("0.91", "0.40")] == [3, 1]
    assert "going on" in every
    assert every.count("61.5 dB(A)") == 4
    chosen = page(client, "/events?label=siren&monitor=yard&site=north&min_score=0.5")
    assert chosen.count(" 0.91 ") == 1
    for query, scores in (
        ("label=siren", [1, 0]),
        ("monitor=gate", [1, 0]),
        ("site=north", [2, 1]),
        ("min_score=0.5", [3, 0]),
    ):
        found = page(client, f"/events?{query}")
        assert [found.count(f" {it} ") for it in ("0.91", "0.40")] == scores, query
    assert "No event" in page(client, "/events?monitor=nobody")
    assert "No event" in page(client, "/events?until=2020-01-01T00:00")


def test_events_are_read_page_by_page_without_one_left_out_or_doubled(
    fill: Fill, client: WebClient
) -> None:
    scripts = [Script(name, f"{index:08x}") for index, name in enumerate("abc", 1)]
    for script in scripts:
        script.add("session")
        for number in range(40):
            script.add("event", peak_score=round(0.1 + number / 1000, 4))
    fill(*scripts)
    address, found = "/events", 0
    for _ in range(3):
        html = client.get(address).text
        found += html.count('<th scope="row">')
        older = re.search(r'class="older"><a class="button" href="([^"]+)"', html)
        if older is None:
            break
        address = unescape(older[1])
    assert found == 120


def test_a_day_shows_hours_monitors_and_levels_of_one(
    fill: Fill, client: WebClient
) -> None:
    script = yard()
    for minute in range(60):
        hour = script.started.replace(minute=0, second=0, microsecond=0)
        start = hour + timedelta(minutes=minute)
        script.add(
            "scores",
            start=start.isoformat().replace("+00:00", "Z"),
            end=(start + timedelta(minutes=1)).isoformat().replace("+00:00", "Z"),
            start_sample=10_000_000 + minute,
        )
    fill(script, gate())
    text = page(client, "/day")
    assert re.search(r"siren( 1)+ ", text)
    assert re.search(r"yard north 2 dog bark, siren 0.0 s", text)
    assert "Levels at street" not in text
    assert re.search(
        r"Levels at street, LAeq in dB\(A\) \d\d:00 -?\d+\.\d",
        page(client, "/day?monitor=yard"),
    )
    assert "is no date" in page(client, "/day?date=yesterday", 400)


@pytest.mark.parametrize("days", [1, 3])
def test_a_day_inside_a_long_gap_was_lost(
    fill: Fill, client: WebClient, days: int
) -> None:
    script = Script()
    script.add("session")
    gap = (now() - timedelta(days=4), now() - timedelta(minutes=1))
    start, end = (f"{it:%FT%T}.000Z" for it in gap)
    script.add("gap", start=start, end=end)
    fill(script)
    day = (now() - timedelta(days=days)).astimezone().date()
    assert "1 d 00 h" in page(client, f"/day?date={day}")


@pytest.mark.parametrize("address", ["/events", "/day"])
def test_the_labels_of_one_monitor_make_no_page_larger(
    fill: Fill, client: WebClient, address: str
) -> None:
    script, gate = Script("yard"), Script("gate")
    script.started = gate.started = datetime.now().astimezone().replace(hour=0)
    for number in range(MOST_LABELS + 100):
        script.add("event", label=f"a{number:09}")
    for _ in range(2):
        gate.add("event", label="siren")
    fill(script, gate)
    text = page(client, address)
    assert "siren" in text
    # The list of events has a few more.
    assert len(set(re.findall(r"a\d{9}", text))) < MOST_LABELS + PAGE_EVENTS


def test_a_clock_that_stepped_back_spoils_no_day(fill: Fill, client: WebClient) -> None:
    script = Script()
    script.add("session")
    day = now() - timedelta(days=2)
    noon = day.astimezone().replace(hour=12).astimezone(UTC)
    for hours, seconds in ((0, 60), (2, -600)):
        start = noon + timedelta(hours=hours)
        start, end = (
            f"{start + timedelta(seconds=each):%FT%T}.000Z" for each in (0, seconds)
        )
        script.add("event", start=start, end=end)
        script.add("gap", start=start, end=end)
    fill(script)
    text = page(client, f"/day?date={day.astimezone().date()}")
    assert re.search(r"yard - 2 siren 1 min 00 s|yard - 2 siren 60.0 s", text), text


def test_a_monitor_has_all_its_events_in_the_sum_of_a_day(
    fill: Fill, client: WebClient
) -> None:
    script = Script("yard")
    script.add("session")
    for label in ("siren", "drilling", "car_horn", "dog_bark", "jackhammer"):
        script.add("event", label=label)
    fill(script)
    assert re.search(r"yard - 5 car horn, dog bark, drilling ", page(client, "/day"))


def test_a_database_that_is_away_is_no_damage(tmp_path: Path) -> None:
    away = context_of("postgresql://127.0.0.1:1/fleet", tmp_path)
    answer = WebClient(build_fleet_app(away)).get("/", headers={"accept": "text/html"})
    assert answer.status_code == 503
    assert "does not answer" in answer.text


def test_system_shows_versions_refused_messages_and_clocks(
    fill: Fill, client: WebClient
) -> None:
    bad = Arrival("yard", b"<script>alert(1)</script>", now())
    fill(yard(), gate(), more=(bad,))
    answer = client.get("/system")
    text = text_of(answer.text)
    assert "1.0 urban 7 1 yard" in text
    assert "yard not-json 1" in text
    assert "<script>alert" not in answer.text
    assert "gate: 30 s ahead" in text
    assert "gate: 12" in text
    assert "yard: " not in text


@pytest.mark.parametrize("value", ["x%00y", "%F0%9F%94%8A", "'; DROP TABLE events; --"])
def test_any_name_is_only_a_name(fill: Fill, client: WebClient, value: str) -> None:
    fill(yard())
    for path in ("/", "/events", "/day"):
        assert client.get(
            f"{path}?monitor={value}&site={value}&label={value}"
        ).is_success
    assert "0.91" in page(client, "/events")


@pytest.mark.parametrize(
    "value", ["nonsense", "0001-01-01 a b", "9999-12-31T23:59-14:00 a b"]
)
def test_a_wrong_place_in_the_list_is_said(
    fill: Fill, client: WebClient, value: str
) -> None:
    fill(yard())
    said = page(client, f"/events?before={value}", 400)
    assert "no place in the list" in said


def test_a_list_may_begin_at_the_last_moment_there_is(
    fill: Fill, client: WebClient
) -> None:
    fill(yard())
    last = "9999-12-31T23:59:59.999999%2B00:00 a b"
    assert "0.91" in page(client, f"/events?before={last}")


def test_what_was_chosen_stays_where_something_else_is_wrong(
    fill: Fill, client: WebClient
) -> None:
    fill(yard())
    html = client.get("/events?label=siren&min_score=nonsense").text
    assert '<option value="siren" selected>' in html


def test_a_database_that_is_away_or_empty_is_said_in_a_sentence(
    server: Postgres, tmp_path: Path
) -> None:
    for url, words in (
        (server.url, "holds no fleet yet"),
        (server.url.replace("/fleet?", "/none?"), 'is away: .*"none" does not exist'),
        ("postgresql://127.0.0.1:1/fleet", "is away"),
    ):
        context = context_of(url, tmp_path)
        with pytest.raises(StoreError, match=words), context.reading_fleet() as reader:
            reader.monitors()


def test_pages_and_collector_are_of_one_version() -> None:
    assert len(MIGRATIONS) == SCHEMA_VERSION


def test_every_query_of_the_dashboard_runs(fill: Fill, server: Postgres) -> None:
    fill(yard(), gate())
    board = dashboard("fleet-dashboard.json")
    with server.connect() as connection:
        for panel in board["panels"]:
            (target,) = panel["targets"]
            sql = target["rawSql"].replace("$site", "'', 'north', 'south'")
            sql = re.sub(
                r"\$__timeFilter\((\w+)\)", r"\1 > now() - interval '1 day'", sql
            )
            assert "$" not in sql
            rows = connection.execute(sql.encode()).fetchall()
            assert rows or panel["id"] == 7, panel["title"]
        (variable,) = [
            it for it in board["templating"]["list"] if it["type"] == "query"
        ]
        assert connection.execute(variable["query"].encode()).fetchall()
