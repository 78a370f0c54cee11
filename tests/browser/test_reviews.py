"""Reviews as a person gives them: quickly, on a phone, and with counts that follow."""

import re
from collections.abc import Callable

from playwright.sync_api import Route, expect

from tests.browser.conftest import PHONE, Visit
from tests.browser.test_siren import first_siren, verdict_of, wait_for_verdict
from tests.support.web_site import Site


def after(milliseconds: int) -> Callable[[Route], None]:
    """Let a request wait so long."""

    def wait(route: Route) -> None:
        route.request.frame.page.wait_for_timeout(milliseconds)
        route.continue_()

    return wait


def test_the_counts_follow_the_verdicts(heard: Site, visit: Visit) -> None:
    page = visit(heard, "/events?label=siren")
    counts = page.locator(".proposal summary")
    expect(counts).to_contain_text("0 right")
    row = first_siren(page)
    row.locator("[data-act=right]").click()
    expect(counts).to_contain_text("1 right")
    row.locator("[data-act=right]").click()
    expect(counts).to_contain_text("0 right")


def test_an_undo_waits_for_the_review_that_is_being_stored(
    heard: Site, visit: Visit
) -> None:
    page = visit(heard, "/events")
    row = first_siren(page)
    event_id = str(row.get_attribute("data-id"))
    page.route("**/api/command/review", after(800))
    row.locator("[data-act=wrong]").click()
    page.keyboard.press("u")
    expect(page.locator("#said-text")).to_have_text("Undone.")
    wait_for_verdict(page, event_id, None)
    assert verdict_of(heard, event_id) is None


def test_on_a_phone_the_bar_of_chosen_events_has_words_and_hides_no_menu(
    heard: Site, visit: Visit
) -> None:
    page = visit(heard, "/events", **PHONE)
    page.locator(".pick input").first.tap()
    for button in page.locator("#bulk button").all():
        assert str(button.inner_text()).strip()
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 24
    page.locator(".more summary").tap()
    page.locator(".more a").first.tap(timeout=3000)
    expect(page).to_have_url(re.compile("thresholds"))


def test_the_times_of_the_filter_are_those_of_the_list(
    heard: Site, visit: Visit
) -> None:
    page = visit(heard, "/events?since=2026-01-01T12:00Z", timezone_id="Asia/Tokyo")
    page.locator(".filters summary").click()
    since = page.get_by_label("From (Asia/Tokyo)")
    expect(since).to_have_value("2026-01-01T21:00")
    clock = page.locator(".event .clock").first.text_content()
    expect(page.locator(".event summary time").first).to_have_text(str(clock))
    since.fill("2026-01-02T09:00")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("since=2026-01-02T00%3A00%3A00.000Z"))
    expect(since).to_have_value("2026-01-02T09:00")
