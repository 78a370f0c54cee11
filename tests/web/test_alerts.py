"""The page Alerts shows what was sent, what waits, and what failed and why."""

import re
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.config.config import Config
from monitor.sinks.alerts.alert import Attempt, Entry
from monitor.sinks.alerts.outbox import Outbox, write_alerts
from monitor.sinks.store.database import transaction
from monitor.web.app import build_app
from monitor.web.pages.alerts import PAGE_LENGTH
from tests.support.alerts import alert
from tests.support.store import open_database
from tests.support.web import VIEWER_PASSWORD, WebClient, make_context, set_passwords

HOSTILE = "<script>alert(1)</script>"
RULES = [
    {
        "name": "siren",
        "labels": ["siren"],
        "webhook": {"url": "http://127.0.0.1:1/secret"},
    },
    {"name": "trouble", "on": ["health"], "command": {"argv": ["/bin/true"]}},
]


def make_client(folder: Path, *, viewer: bool = False, **web: object) -> WebClient:
    config = Config.model_validate({"alerts": RULES, "web": web})
    context = make_context(folder, config=config)
    if viewer:
        set_passwords(context)
    client = WebClient(build_app(context))
    if viewer:
        client.log_in(VIEWER_PASSWORD)
    return client


def store(folder: Path, count: int) -> None:
    """Store alerts, the newest of which has failed."""
    alerts = [
        alert(n, created=datetime.now(UTC), label=f"alert {n} {HOSTILE}")
        for n in range(count)
    ]
    database = open_database(folder / "monitor.db")
    with closing(database.connect()) as connection, transaction(connection):
        write_alerts(connection, alerts)
    with closing(Outbox(database)) as outbox:
        entry = outbox.pending(alerts[-1].id)
        assert entry is not None
        why = f"HTTP 410 {HOSTILE}"
        dead = Entry(entry.alert, "dead", 1, entry.next_attempt, why, entry.sequence)
        outbox.record(dead, Attempt(datetime.now(UTC), "refused", why, 0.1))


def numbers(text: str) -> list[int]:
    return [int(each) for each in re.findall(r">alert (\d+) ", text)]


def test_without_a_database_there_are_only_rules(tmp_path: Path) -> None:
    text = make_client(tmp_path).get("/alerts").text
    assert "siren/webhook" in text
    assert "The monitor is not running" in text
    assert "No alerts." in text
    assert "secret" not in text


def test_an_alert_that_failed_says_why(tmp_path: Path) -> None:
    store(tmp_path, 2)
    text = make_client(tmp_path).get("/alerts?state=dead").text
    assert numbers(text) == [1]
    assert "1 attempt" in text
    assert "refused for good" in text
    assert "HTTP 410 &lt;script&gt;" in text
    assert HOSTILE not in text


def test_an_endpoint_that_does_not_answer_is_said_to(tmp_path: Path) -> None:
    store(tmp_path, 1)
    tried = alert(7, endpoint="siren/webhook", created=datetime.now(UTC))
    database = open_database(tmp_path / "monitor.db")
    with closing(database.connect()) as connection, transaction(connection):
        write_alerts(connection, [tried])
    with closing(Outbox(database)) as outbox:
        entry = outbox.pending(tried.id)
        assert entry is not None
        why = "no connection: Connection refused"
        again = Entry(
            entry.alert, "pending", 8, entry.next_attempt, why, entry.sequence
        )
        outbox.record(again, Attempt(datetime.now(UTC), "retry", why, 0.1))
    text = make_client(tmp_path).get("/alerts").text
    assert '<span class="bad">Does not answer, 8 attempts since' in text
    assert text.count("Does not answer") == 1


def test_links_lead_through_all_pages(tmp_path: Path) -> None:
    store(tmp_path, 2 * PAGE_LENGTH + 5)
    client, path, found = make_client(tmp_path), "/alerts", list[int]()
    while path:
        text = client.get(path).text
        assert len(numbers(text)) <= PAGE_LENGTH
        found += numbers(text)
        link = re.search(r'rel="next" href="([^"]+)"', text)
        path = link[1].replace("&amp;", "&") if link else ""
    assert found == list(range(2 * PAGE_LENGTH + 4, -1, -1))


@pytest.mark.parametrize(
    "query", ["state=x", "before=x", "before=-1", f"before={10**30}", "rule=%00"]
)
def test_any_query_is_answered(tmp_path: Path, query: str) -> None:
    store(tmp_path, 1)
    assert make_client(tmp_path).get(f"/alerts?{query}").status_code == 200


def commands(text: str) -> set[str]:
    return set(re.findall(r'data-command="(\w+)"', text))


def test_buttons_are_those_that_are_allowed(tmp_path: Path) -> None:
    store(tmp_path, 1)
    always = {"alert_retry", "alert_drop", "alert_test"}
    path = "/alerts/lists"
    assert commands(make_client(tmp_path).get(path).text) == always
    muting = make_client(tmp_path, may_change=["mute"])
    assert commands(muting.get(path).text) == {*always, "mute"}
    viewer = make_client(tmp_path, viewer=True, may_change=["mute"])
    response = viewer.get(path)
    assert (response.status_code, commands(response.text)) == (200, set())
