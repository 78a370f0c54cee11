"""Pages while things go wrong: a killed monitor, hostile names, very many events."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import soundfile
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.support.big_store import fill
from tests.support.source_programs import program
from tests.support.store import make_store
from tests.support.timed import event
from tests.support.web_site import Site, site

MANY = 100_000
NOISE = """
while True:
    put(os.urandom(8820))
    time.sleep(0.1)
"""
HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.mark.timeout(180)
def test_an_open_page_says_that_the_monitor_is_gone_and_goes_on_with_it(
    visit: Visit,
) -> None:
    sources = [{"name": "street", "input": f"command:{program(NOISE)}"}]
    with site(f"sources: {json.dumps(sources)}\n") as found:
        found.start_monitor()
        found.start_web()
        page = visit(found, "/")
        source = page.locator(".source").first
        expect(source).not_to_have_class(re.compile("stale"), timeout=10_000)
        notice = page.locator("#notice")
        expect(notice).to_be_hidden()
        found.kill_monitor()
        expect(notice).to_be_visible(timeout=15_000)
        expect(notice).to_contain_text("not running")
        expect(source).to_have_class(re.compile("stale"), timeout=15_000)
        found.start_monitor()
        expect(notice).to_be_hidden(timeout=30_000)
        expect(source).not_to_have_class(re.compile("stale"), timeout=15_000)


@pytest.fixture(scope="module")
def crowded() -> Iterator[Site]:
    """A place with 100,000 events, whose monitor does not run."""
    with site("") as found:
        fill(found.state_dir / "monitor.db", datetime.now(UTC), 1000, MANY)
        found.start_web()
        yield found


def test_among_100_000_events_the_newest_and_older_ones_are_shown(
    crowded: Site, visit: Visit
) -> None:
    page = visit(crowded, "/events")
    rows = page.locator("li.event")
    count = rows.count()
    assert 10 <= count <= 100
    for pages in (2, 3):
        page.locator("#older").click()
        expect(rows).to_have_count(pages * count, timeout=3000)
    times = [row.get_attribute("datetime") for row in page.locator("time.clock").all()]
    assert times == sorted(times, reverse=True)
    page.goto(f"{crowded.url}/events?label=siren")
    assert {row.get_attribute("data-label") for row in rows.all()} == {"siren"}


@pytest.mark.parametrize("path", ["/", "/events", "/thresholds", "/system"])
def test_the_pages_answer_beside_100_000_events(
    crowded: Site, visit: Visit, path: str
) -> None:
    page = visit(crowded, path)
    expect(page.locator("h1").first).to_be_attached(timeout=3000)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Site]:
    """A place whose labels, file and device have names that are HTML."""
    text = (
        "sources:\n"
        f"- {{name: file, input: 'file:$FOLDER/{HOSTILE}.wav'}}\n"
        f"- {{name: device, input: 'mic:{HOSTILE}'}}\n"
        "alerts: [{name: all, labels: [siren], command: [/bin/true]}]\n"
    )
    with site(text) as found:
        store = make_store(found.state_dir / "monitor.db")
        first = datetime.now(UTC) - timedelta(hours=1)
        for number in range(3):
            at = first + timedelta(minutes=number)
            each = event(label=HOSTILE, number=number, opened=at)
            record = replace(each.record, source="street", model=HOSTILE)
            store.write([replace(each, record=record)])
        store.close()
        silence = np.zeros(60 * 8000, np.float32)
        soundfile.write(found.folder / f"{HOSTILE}.wav", silence, 8000)
        found.start_monitor()
        found.start_web()
        yield found


def test_hostile_names_are_text_on_every_page(hostile: Site, visit: Visit) -> None:
    page = visit(hostile, "/events")
    paths = [each.get_attribute("href") for each in page.locator("nav a").all()]
    seen = ""
    for path in dict.fromkeys(paths):
        page.goto(f"{hostile.url}{path}")
        page.wait_for_timeout(700)
        for details in page.locator("main details").all():
            details.evaluate("it => { it.open = true }")
        assert page.locator("img[src=x]").count() == 0, path
        assert page.title() != "1", path
        seen += page.locator("body").inner_text()
    assert HOSTILE in seen
    assert f"{HOSTILE}.wav" in seen
