"""Every page: no fault in any browser, whoever looks, with whatever they look."""

import re

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import DESKTOP, PHONE, Microphone, Visit
from tests.support.web_site import Site

FIRST_VIEW_BYTES = 150_000
FIRST_PICTURE_MS = 500
FIRST_COLUMNS_MS = 1500
"""About 300 where nothing else runs."""

MOST_SHIFT = 0.01
MEMORY_MIB = 60

LOOKS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
    "dark phone": {**PHONE, "color_scheme": "dark"},
}

CONTROLS = "button, summary, select, input:not([type=hidden])"


@pytest.fixture(scope="session")
def paths(street: Site) -> list[str]:
    """The paths of the navigation."""
    text = httpx.get(f"{street.url}/system").text
    navigation = text.partition("<nav")[2].partition("</nav>")[0]
    return list(dict.fromkeys(re.findall(r'<a href="([^"]+)"', navigation)))


def settled(page: Page) -> Page:
    """Wait until the page has what it asks for at first; its live stream never ends."""
    page.wait_for_load_state("load")
    expect(page.locator("main [aria-busy=true]")).to_have_count(0, timeout=20_000)
    page.wait_for_timeout(700)
    return page


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_accessible_and_fits_in_every_look(
    heard: Site, paths: list[str], visit: Visit, look: str
) -> None:
    options = LOOKS[look]
    page = visit(heard, paths[0], **options)
    found = []
    for path in paths:
        page.goto(heard.url + path)
        settled(page)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(float, colour.strip("rgb()").split(",")[:3]))
        assert (brightness < 150) == ("color_scheme" in options), path
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= options.get("viewport", DESKTOP["viewport"])["width"], path
        for details in page.locator("main details").all():
            details.evaluate("it => { it.open = true }")
        results = Axe().run(page)
        found += [
            f"{path}: {fault['id']}: {fault['nodes'][0]['html'][:200]}"
            for fault in results.response["violations"]
        ]
    assert found == []


def test_the_first_view_is_small_and_from_this_server_alone(
    heard: Site, paths: list[str], visit: Visit
) -> None:
    for path in paths:
        page = visit(heard, path)
        sizes: list[int] = []

        def count(request: object, sizes: list[int] = sizes) -> None:
            found = request.sizes()
            sizes.append(found["responseBodySize"] + found["responseHeadersSize"])

        page.context.clear_cookies()
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        page.on("requestfinished", count)
        page.goto(heard.url + path)
        settled(page)
        page.remove_listener("requestfinished", count)
        assert 5_000 < sum(sizes) < FIRST_VIEW_BYTES, path


@pytest.mark.parametrize("look", ["light", "phone"])
@pytest.mark.parametrize("path", ["/", "/thresholds?label=siren", "/events"])
def test_nothing_jumps_on_a_first_visit(
    heard: Site, visit: Visit, path: str, look: str
) -> None:
    page = visit(heard, "/system", **LOOKS[look])
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    page.add_init_script(SHIFTS)
    page.goto(heard.url + path)
    settled(page)
    page.wait_for_timeout(3000)
    shifts = page.evaluate("window.shifts")
    assert sum(each["value"] for each in shifts) < MOST_SHIFT, shifts


SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) {
    if (each.hadRecentInput) continue;
    const moved = each.sources.map(({ node, previousRect, currentRect }) =>
      [node?.id || node?.className, previousRect.top, currentRect.top]);
    window.shifts.push({ value: each.value, moved });
  }
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.flaky(reruns=2)
def test_the_first_picture_comes_in_half_a_second(
    heard: Site, paths: list[str], visit: Visit
) -> None:
    """The first contentful paint, best of three visits, beside one monitor."""
    for path in paths:
        page = visit(heard, path)
        best = min(_first_picture(page, heard.url + path) for _ in range(3))
        assert best < FIRST_PICTURE_MS, path


def _first_picture(page: Page, address: str) -> float:
    page.goto(address)
    page.wait_for_timeout(100)
    entries = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    return float(page.evaluate(entries))


@pytest.mark.flaky(reruns=2)
def test_the_live_picture_is_there_soon_after_the_page(
    heard: Site, visit: Visit, microphone: Microphone, siren: NDArray[np.float32]
) -> None:
    """The columns of the sound, which a script fetches and draws once it has run."""
    page = visit(heard, "/system")
    microphone.play(siren)  # silence is a picture of one colour
    page.add_init_script(COLUMNS)
    found = []
    for _ in range(3):
        page.goto(heard.url + "/")
        while (drawn := page.evaluate("() => window.drawn")) is None:
            page.wait_for_timeout(50)
        found.append(round(drawn))
    print(f"columns were drawn after {found} ms")  # noqa: T201
    assert min(found) < FIRST_COLUMNS_MS


COLUMNS = """
const small = new OffscreenCanvas(100, 48);
const copy = small.getContext("2d", { willReadFrequently: true });
function look() {
  const canvas = document.querySelector(".columns");
  if (canvas?.width) {
    copy.drawImage(canvas, 0, 0, 100, 48);
    const { data } = copy.getImageData(50, 0, 50, 48);
    if (new Set(new Uint32Array(data.buffer)).size > 20) {
      window.drawn = performance.now();
      return;
    }
  }
  requestAnimationFrame(look);
}
requestAnimationFrame(look);
"""
"""Note when a picture has more colours than an empty one, ms since navigation."""


@pytest.mark.parametrize("look", ["light", "phone"])
def test_every_control_can_be_used_twice(
    heard: Site, paths: list[str], visit: Visit, look: str
) -> None:
    page = visit(heard, paths[0], **LOOKS[look])
    for path in paths:
        page.goto(heard.url + path)
        settled(page)
        count = page.locator(CONTROLS).count()
        for index in range(count):
            for _ in range(2):
                use(page, page.locator(CONTROLS).nth(index))
            if page.url.partition("?")[0] != heard.url + path:
                page.goto(heard.url + path)
        # The answers of the last commands.
        page.wait_for_timeout(300)


def use(page: Page, control: Locator) -> None:
    """Use a control as a person does: those out of sight are left alone."""
    if control.count() == 0 or not control.is_visible() or not control.is_enabled():
        return
    if page.locator("dialog[open]").count():
        page.keyboard.press("Escape")
        return
    kind = control.evaluate("it => it.tagName.toLowerCase() + ' ' + (it.type ?? '')")
    if kind.startswith("select"):
        options = control.locator("option").count()
        control.select_option(index=options - 1)
        control.select_option(index=0)
    elif kind == "input range":
        control.press("ArrowRight")
    elif control.evaluate("it => it.form?.action.endsWith('/language') ?? false"):
        return  # the words that other tests read are English
    else:
        control.click(timeout=3000)


def test_every_link_leads_somewhere(
    heard: Site, paths: list[str], visit: Visit
) -> None:
    page = visit(heard, paths[0])
    targets: dict[str, None] = {}
    for path in paths:
        page.goto(heard.url + path)
        settled(page)
        for link in page.locator("a[href]").all():
            targets[str(link.evaluate("it => it.href.split('#')[0]"))] = None
    assert len(targets) > len(paths)
    for target in targets:
        assert target.startswith(heard.url), target
        assert page.context.request.get(target).ok, target


def test_the_pages_stay_within_their_memory(
    heard: Site, paths: list[str], visit: Visit
) -> None:
    page = visit(heard, paths[0])
    for path in paths * 3:
        page.goto(heard.url + path)
    assert heard.resident_mib < MEMORY_MIB


def test_a_label_that_only_a_person_knows_keeps_its_name(
    heard: Site, visit: Visit
) -> None:
    page = visit(heard, "/system")
    names = page.evaluate(
        "async () => {"
        "  const { labelText } = await import('/static/strings.js');"
        "  return ['car_horn', 'st. bernard', 'my_siren'].map(labelText);"
        "}"
    )
    assert names == ["car horn", "st. bernard", "my_siren"]
