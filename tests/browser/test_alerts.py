"""Alerts on the page: what fails and why, sent again, cancelled, tested, muted."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.support.endpoint import Endpoint, ok, running_endpoint, status
from tests.support.web_site import Site, site

CONFIG = """\
sources: [{{name: street, input: "demo:"}}, {{name: yard, input: "command:sleep 600"}}]
web: {{may_change: [mute]}}
alerts: [{{name: sirens, labels: [siren], on: [onset, end], webhook: {{url: "{url}"}}}}]
"""

SECONDS = 15_000


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """A webhook that fails until it is told otherwise."""
    with running_endpoint(status(500)) as found:
        yield found


@pytest.fixture(scope="module")
def noisy(endpoint: Endpoint) -> Iterator[Site]:
    """A monitor that has detected a siren, and could not send its alert."""
    with site(CONFIG.format(url=endpoint.url)) as found:
        monitor = found.start_monitor()
        found.start_web()
        query = "SELECT 1 FROM alerts WHERE attempts > 0"
        monitor.wait_until(lambda it: it.query(query), 40)
        yield found


@pytest.fixture
def page(noisy: Site, visit: Visit) -> Page:
    return visit(noisy, "/alerts")


def stored_mute(noisy: Site) -> Any:
    assert noisy.monitor is not None
    ((state,),) = noisy.monitor.query("SELECT state FROM rule_state")
    return json.loads(state)["rules"]["sirens"]["mute"]


def test_a_rule_is_muted_for_an_hour_and_no_longer(noisy: Site, page: Page) -> None:
    page.get_by_role("button", name="Mute for an hour").dblclick()
    expect(page.get_by_text("Muted for 60 more minutes")).to_be_visible(timeout=SECONDS)
    expect(page.get_by_text("0 alerts withheld so far")).to_be_visible()
    assert stored_mute(noisy)["seconds"] == 3600
    page.get_by_role("button", name="Unmute").click()
    expect(page.get_by_role("button", name="Unmute")).to_have_count(0, timeout=SECONDS)
    assert stored_mute(noisy) is None


def test_an_alert_is_cancelled_and_sent_again(endpoint: Endpoint, page: Page) -> None:
    oldest = page.locator(".alert-list > li").last
    state = oldest.locator(".tag")
    expect(state).to_have_text("Waiting")
    expect(oldest).to_contain_text("HTTP 500")
    oldest.locator("summary").click()
    expect(oldest.locator("details li").first).to_contain_text("tried again later")
    oldest.get_by_role("button", name="Cancel").dblclick()
    expect(state).to_have_text("Cancelled", timeout=SECONDS)
    expect(oldest.locator("details li").first).to_be_visible()  # it stays open
    endpoint.will(ok)
    oldest.get_by_role("button", name="Send again").dblclick()
    expect(state).to_have_text("Delivered", timeout=SECONDS)
    expect(oldest.get_by_role("button")).to_have_count(0)


def sent_tests(endpoint: Endpoint) -> list[bytes]:
    bodies = [each.body.replace(b'":"', b'": "') for each in endpoint.requests]
    return [body for body in bodies if b'"kind": "test"' in body]


def test_an_endpoint_is_tested(endpoint: Endpoint, page: Page) -> None:
    button = page.get_by_role("button", name="Send a test to sirens/webhook")
    result = page.locator("[data-result]")
    for behaviour, text in ((status(410), "has failed: HTTP 410"), (ok, "has arrived")):
        endpoint.will(behaviour)
        before = len(sent_tests(endpoint))
        button.dblclick()
        expect(result).to_contain_text(text, timeout=SECONDS)
        assert len(sent_tests(endpoint)) == before + 1
