"""The password in a browser: asked for, checked, and asked for after a change."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from monitor.config.config import Config
from monitor.web.context import WebContext
from tests.browser.conftest import Faults, Visit
from tests.support.web import PASSWORD, VIEWER_PASSWORD, make_context, set_passwords
from tests.support.web_site import Site, site


@pytest.fixture(scope="module")
def locked() -> Iterator[Site]:
    """A page with passwords, without a monitor."""
    with site("") as found:
        set_passwords(context(found))
        found.start_web()
        yield found


def context(of: Site) -> WebContext:
    return make_context(of.state_dir, config=Config())


def sign_in(page: Page, password: str) -> None:
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def forget_faults(visit: Visit) -> None:
    """Forget what the browser says about refused requests."""
    watched: list[Faults] = visit.faults
    for faults in watched:
        faults.found.clear()


def test_the_password_leads_to_the_page_that_was_asked_for(
    locked: Site, visit: Visit
) -> None:
    page = visit(locked, "/system?a=b")
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.get_by_role("link", name="Events")).to_have_count(0)
    assert Axe().run(page).violations_count == 0
    sign_in(page, "wrong password")
    expect(page.get_by_role("alert")).to_have_text("That password is not right.")
    forget_faults(visit)
    sign_in(page, PASSWORD)
    expect(page).to_have_url(f"{locked.url}/system?a=b")
    page.get_by_label("Language").select_option("de")
    page.get_by_role("button", name="Choose").click()
    expect(page.get_by_role("button", name="Abmelden")).to_be_visible()
    page.get_by_role("button", name="Abmelden").dblclick()
    expect(page.get_by_label("Passwort")).to_be_visible()
    forget_faults(visit)  # the live feed of the page before may have been refused


def test_an_open_page_asks_again_once_the_password_has_changed(
    locked: Site, visit: Visit
) -> None:
    page = visit(locked, "/system")
    sign_in(page, VIEWER_PASSWORD)
    expect(page.get_by_text("change nothing")).to_be_visible()
    set_passwords(context(locked))
    expect(page.get_by_label("Password")).to_be_visible(timeout=30_000)
    forget_faults(visit)
