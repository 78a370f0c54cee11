"""The page Thresholds: what it says of a curve, and what it does not propose."""

import re

import pytest
from playwright.sync_api import Page, expect

from monitor.sinks.status_client import Document
from tests.browser.conftest import Visit
from tests.support.web_site import Site

EFFECT = {
    "label": "siren",
    "is_used": True,
    "confirmed_scored": 6,
    "confirmed_missed": 6,
    "rejected_scored": 7,
    "rejected_reported": 0,
}


def proposal(page: Page, **changes: object) -> None:
    """Open what is proposed, which is this."""
    threshold = {"onset": 0.99, "offset": 0.7}
    document: Document = {
        "hours": 20.0,
        "labels": [{"label": "siren", "threshold": threshold}],
        "verdicts": [EFFECT],
        "unreviewed": 0,
    }
    answer = document | changes
    page.route("**/thresholds/proposal*", lambda route: route.fulfill(json=answer))
    page.locator("#proposal summary").click()


@pytest.fixture
def page(street: Site, visit: Visit) -> Page:
    found = visit(street, "/thresholds?label=siren")
    expect(found.locator("#expected")).to_contain_text("Threshold", timeout=20_000)
    return found


def test_it_says_where_the_curve_falls_and_why(page: Page) -> None:
    expect(page.locator("#curve-note")).to_contain_text("Above a sensitivity of 0.7")


def test_rates_have_one_unit(page: Page) -> None:
    for value in ("0", "0.5", "1"):
        page.locator("#slider").fill(value)
        text = str(page.locator("#tool").text_content())
        assert re.findall(r"an hour|a day", text).count("a day") > 1
        assert "an hour" not in text.replace("an hour of scores", "")


def test_a_threshold_that_separates_nothing_is_not_proposed(page: Page) -> None:
    proposal(page)
    text = page.locator("#proposal-text")
    expect(text).to_contain_text("No threshold separates")
    expect(text).to_contain_text("6 of 6 right")
    expect(page.locator("#proposal-fragment")).to_be_hidden()


def test_a_threshold_that_separates_is_proposed(page: Page) -> None:
    proposal(page, verdicts=[EFFECT | {"confirmed_missed": 1}])
    expect(page.locator("#proposal-text")).to_contain_text("1 would be missed")
    expect(page.locator("#proposal-fragment")).to_contain_text("onset_threshold: 0.99")


def test_minutes_of_scores_propose_nothing(page: Page) -> None:
    proposal(page, hours=0.072)
    text = page.locator("#proposal-text")
    expect(text).to_have_text(
        "There are scores of 4 minutes only; a proposal needs an hour."
    )
    expect(page.locator("#proposal-fragment")).to_be_hidden()
