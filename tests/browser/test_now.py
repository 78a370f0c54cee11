"""The page Now: what it makes of the lines of the stream, which the tests give it."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import Page, expect

from monitor.sinks.status_client import Document
from tests.browser.conftest import Visit
from tests.support.web_site import Site

STREAM = """
window.EventSource = class {
  constructor() { window.stream = this; }
  close() {}
};
"""
BEGIN = datetime.now(UTC)
BANDS = 48

BAR = """
(seconds) => {
  const canvas = document.querySelector(".columns");
  const x = Math.round(canvas.width * (1 - seconds / 30));
  const copy = new OffscreenCanvas(1, 1).getContext("2d");
  copy.drawImage(canvas, x, 2, 1, 1, 0, 0, 1, 1);
  const [red, green, blue] = copy.getImageData(0, 0, 1, 1).data;
  const name = getComputedStyle(document.documentElement).getPropertyValue("--rank-8");
  return `#${[red, green, blue].map((it) => it.toString(16).padStart(2, "0")).join("")}`
    === name.trim();
}
"""
"""Whether the bar of a siren is drawn so long before the right edge."""


def open_now(
    site: Site, visit: Visit, recent: list[Document] | None = None, **source: Any
) -> Page:
    """Open the page, and tell it of a source that is listened to."""
    page = visit(site, "/system", reduced_motion="no-preference")
    page.add_init_script(STREAM)
    if recent is not None:
        answer = json.dumps({"sources": recent})
        page.route("**/now/recent.json", lambda route: route.fulfill(body=answer))
    page.goto(site.url + "/")
    while not page.evaluate("() => window.stream !== undefined"):
        page.wait_for_timeout(50)
    page.wait_for_timeout(500)
    hello = {
        "type": "hello",
        "sources": [{"name": "street", "labels": ["siren"]}],
        "mel_hz": list(range(100, 100 + BANDS)),
    }
    status = {
        "name": "street",
        "state": "listening",
        "listening": True,
        "analysed": True,
        "detail": "",
        "troubles": [],
        "gaps": 0,
        "captured_seconds": 600.0,
        "listened_24h": {"share": 1.0, "of_seconds": 600.0},
    }
    document = {"sources": [status | source], "troubles": [], "mutes": []}
    tell(page, hello, {"type": "status", "document": document})
    return page


def tell(page: Page, *lines: Document) -> None:
    for line in lines:
        page.evaluate("data => stream.onmessage({ data })", json.dumps(line))


def utc(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


def columns(seconds: float, count: int) -> Document:
    data = base64.b64encode(bytes([90]) * BANDS * count).decode()
    return {
        "type": "columns",
        "source": "street",
        "time": utc(seconds),
        "count": count,
        "data": data,
    }


def scores(*ongoing: Document) -> Document:
    return {"type": "scores", "source": "street", "top": [], "ongoing": list(ongoing)}


def test_the_headline_says_at_once_that_a_source_tells_nothing_new(
    street: Site, visit: Visit
) -> None:
    page = open_now(street, visit)
    tell(page, columns(3600, 5))
    health = page.locator("#health")
    expect(health).to_have_text("Listening to everything.")
    expect(page.locator(".source-state")).to_contain_text("nothing new", timeout=7000)
    assert health.text_content() == "Nothing new from street."
    tell(page, columns(3605, 5))
    assert health.text_content() == "Listening to everything."


def test_a_recording_that_has_ended_is_no_alarm(street: Site, visit: Visit) -> None:
    page = open_now(street, visit, state="ended")
    tell(page, columns(3600, 5))
    expect(page.locator(".source")).to_have_class("card source stale", timeout=7000)
    assert page.locator(".source-state").text_content() == "ended"
    assert page.locator("#health").text_content() == "Listening to everything."


def test_what_ended_before_the_page_was_opened_is_marked(
    street: Site, visit: Visit
) -> None:
    newest = columns(3610, 100)
    siren = {"id": "b", "label": "siren", "start": utc(3602), "end": utc(3607)}
    recent = {"name": "street", "levels": [], "columns": [newest], "events": [siren]}
    page = open_now(street, visit, recent=[recent])
    page.wait_for_timeout(1500)
    assert page.evaluate(BAR, 5)
    assert not page.evaluate(BAR, 1)


def test_a_sound_below_its_threshold_may_go_on(street: Site, visit: Visit) -> None:
    page = open_now(street, visit)
    first = page.locator(".candidates li").first
    expect(first).to_have_text("no scores yet")
    page.reload()
    page.wait_for_timeout(500)
    bark = {"label": "dog_bark", "score": 0.2, "threshold": 0.9, "reason": "threshold"}
    assert page.evaluate("performance.now()") < 4000
    tell(page, scores() | {"top": [bark]})
    assert "below its threshold" in (first.text_content() or ""), "at once"
    siren = {"id": "c", "label": "siren", "start": utc(3600)}
    top = {"label": "siren", "score": 0.85, "threshold": 0.94, "reason": None}
    tell(page, scores(siren) | {"top": [top | {"going_on": True}]})
    expect(first).to_contain_text("over only below a lower threshold")


def test_a_source_that_starts_is_no_trouble(street: Site, visit: Visit) -> None:
    page = open_now(street, visit, listening=False, captured_seconds=2.0)
    health = page.locator("#health")
    expect(health).to_have_text("Starting: street.")
    expect(health).to_have_class("health is-starting")


def test_a_trouble_that_hides_sounds_is_said_in_one_way(
    street: Site, visit: Visit
) -> None:
    silence = {"kind": "digital-silence", "since": None, "detail": "zeros"}
    page = open_now(
        street,
        visit,
        listening=False,
        analysed=True,
        detail="microphone A",
        troubles=[silence],
    )
    health = page.locator("#health")
    expect(health).to_have_text("Sounds may go undetected: street.")
    expect(health).to_have_class("health is-bad")
    said = page.locator(".source-state").text_content()
    assert said.startswith("samples arrive, but sounds may go undetected")
    assert said.endswith("digital silence")


def test_a_muted_rule_is_said_in_the_headline(street: Site, visit: Visit) -> None:
    page = open_now(street, visit)
    document = {
        "sources": [],
        "troubles": [],
        "mutes": [{"rule": "sirens", "until": utc(7200), "withheld": 0}],
    }
    tell(page, {"type": "status", "document": document})
    health = page.locator("#health")
    expect(health).to_contain_text("Listening to everything. Muted: sirens until ")
    expect(health).to_have_class("health is-starting")


def test_the_bar_of_a_sound_ends_where_the_columns_stop(
    street: Site, visit: Visit
) -> None:
    page = open_now(street, visit)
    siren = {"id": "a", "label": "siren", "start": utc(3600)}
    tell(page, columns(3610, 100), scores(siren))
    page.wait_for_timeout(300)
    assert page.evaluate(BAR, 5)
    # A kill, and the monitor after it.
    tell(page, {"type": "hello", "sources": [{"name": "street"}], "mel_hz": []})
    tell(page, columns(3625, 50), scores())
    page.wait_for_timeout(1500)
    assert page.evaluate(BAR, 20), "of the sound before the outage"
    assert not page.evaluate(BAR, 10), "of the outage"
    assert not page.evaluate(BAR, 2), "of the time after it"
