"""A verdict changes the proposal: a siren is heard, rejected, and weighed."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from monitor.records import Event, ScoreFrame
from monitor.sinks.store.database import transaction
from monitor.sinks.store.reviews import write_verdict
from tests.browser.conftest import CONFIG, Microphone, Visit
from tests.support.big_store import fill
from tests.support.store import make_store, open_database, score_frames
from tests.support.timed import LABELS, event, timed
from tests.support.web_site import Site, site

FRAMES = 60_000
"""Scores of nine hours."""
BETWEEN = 100
"""Frames from one siren to the next."""
SIRENS = range(4)
"""One verdict less than change anything."""
SIREN_SCORE = 0.998


def fill_store(path: Path) -> None:
    """Write a night of scores, and four sirens that were confirmed after it."""
    began = datetime.now(UTC) - timedelta(hours=1)
    fill(path, began, FRAMES, 1)
    frames = [each.record for each in score_frames(BETWEEN * (len(SIRENS) + 1))]
    scores = [0.02] * len(LABELS)
    scores[LABELS.index("siren")] = SIREN_SCORE
    events = []
    for number in SIRENS:
        first = (number + 1) * BETWEEN
        for place in range(first, first + 20):
            record = frames[place]
            assert isinstance(record, ScoreFrame)
            frames[place] = replace(record, scores=tuple(scores))
        begin = first * 24_576 / 44_100
        record = event(number=number, start_seconds=begin + 4, seconds=10).record
        assert isinstance(record, Event)
        events.append(record)
    store = make_store(path)
    for start in range(0, len(frames), BETWEEN):
        store.write([timed(it, began) for it in frames[start : start + BETWEEN]])
    store.write([timed(each, began) for each in events])
    store.close()
    with (
        closing(open_database(path).connect()) as connection,
        transaction(connection),
    ):
        now = datetime.now(UTC)
        write_verdict(connection, [it.id for it in events], "right", None, now=now)


@pytest.fixture
def wailing(microphone: Microphone, siren: NDArray[np.float32]) -> Iterator[Site]:
    """A place of some history, whose monitor has just heard a siren."""
    with site(CONFIG.replace("INPUT", microphone.input)) as found:
        fill_store(found.state_dir / "monitor.db")
        monitor = found.start_monitor()
        found.start_web()
        microphone.play(siren)
        query = (
            "SELECT 1 FROM events JOIN scores ON scores.end_ms > events.end_ms "
            "AND scores.start_ms < events.start_ms "
            "WHERE label = 'siren' AND events.id NOT LIKE 'session-%'"
        )
        monitor.wait_until(lambda it: it.query(query), 40)
        yield found


def proposal(page: Page, site: Site) -> str:
    """What is proposed for sirens."""
    page.goto(f"{site.url}/thresholds?label=siren")
    page.locator("#proposal summary").click()
    text = page.locator("#proposal-text")
    expect(text).to_contain_text("For one false alarm", timeout=30_000)
    return str(text.text_content())


def onset(text: str) -> float:
    found = re.search(r"threshold ([\d.]+)", text)
    assert found is not None, text
    return float(found[1])


@pytest.mark.timeout(180)
def test_a_rejected_siren_changes_the_proposal(wailing: Site, visit: Visit) -> None:
    page = visit(wailing, "/events?label=siren")
    row = page.locator("li.event").first
    before = proposal(page, wailing)
    assert "too few verdicts" in before
    page.goto(f"{wailing.url}/events?label=siren")
    row.locator("[data-act=wrong]").click()
    expect(row).to_have_attribute("data-verdict", "wrong")
    expect(row).not_to_have_attribute("aria-busy", "true")
    after = proposal(page, wailing)
    assert "Of 4 right events 0 would be missed, and of 1 wrong ones 0 still" in after
    assert onset(after) < onset(before)  # the right ones are no background any more
