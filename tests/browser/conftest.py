"""Fixtures of the browser tests: Debian's chromium on a real monitor and its page."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.support.city_sounds import RATE, sounds
from tests.support.played_sound import PlayedSound
from tests.support.pulse import PulseServer, missing_programs
from tests.support.web_site import Site, site

CHROMIUM = shutil.which("chromium")
WINDOW_SECONDS = 5.0
"""After this time a window holds nothing of what was before."""

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}

CONFIG = """\
privacy: clips
sources: [{name: street, input: "INPUT"}]
web: {may_change: [sensitivity, mute]}
alerts: [{name: sirens, labels: [siren], command: [/bin/true]}]
"""


@dataclass
class Faults:
    """What went wrong in the pages of a test."""

    site: str
    found: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)
        page.on("response", self._response)
        page.on("dialog", lambda dialog: dialog.accept())

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and not request.url.startswith(
            self.site
        ):
            self.found.append(f"another host: {request.url}")

    def _failed(self, request: Any) -> None:
        # A page that is left, or a replay that gives way to a newer one, ends requests.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.found.append(f"failed: {request.url}: {request.failure}")

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.found.append(f"{response.status}: {response.url}")


Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as found:
        yield found


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt install chromium")
    # It would play into the microphone of the monitor.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PULSE")}
    found = playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=["--no-sandbox", "--mute-audio", "--disable-dev-shm-usage"],
        env=environment,
    )
    yield found
    found.close()


@dataclass(frozen=True)
class Microphone:
    """A virtual microphone."""

    input: str
    """The input of its source."""

    play: Callable[[NDArray[np.float32]], None]
    """Play samples, (1, n) at 44.1 kHz, and return once they are over."""


@pytest.fixture(scope="session")
def microphone() -> Iterator[Microphone]:
    """A microphone for this process and all that it starts; see `PulseServer`."""
    with tempfile.TemporaryDirectory(prefix="pulse-", dir="/tmp") as folder:
        if missing_programs():
            sound = PlayedSound(Path(folder))
            yield Microphone(sound.input, lambda samples: sound.play(_pcm(samples)))
            return
        server = PulseServer(Path(folder))
        before = dict(os.environ)
        os.environ.update(server.environment)
        server.start()
        yield Microphone(
            "mic:default",
            lambda samples: check_played(server.play_samples(samples, RATE).wait(30)),
        )
        server.kill()
        os.environ.clear()
        os.environ.update(before)


def check_played(code: int) -> None:
    """Check the exit code of a player."""
    assert code == 0


def _pcm(samples: NDArray[np.float32]) -> bytes:
    return (samples[0] * 32767).astype("<i2").tobytes()


@pytest.fixture(scope="session")
def street(microphone: Microphone) -> Iterator[Site]:
    """A monitor that listens to the virtual microphone, and its page."""
    with site(CONFIG.replace("INPUT", microphone.input)) as found:
        found.start_monitor()
        found.start_web()
        yield found


@pytest.fixture(scope="session")
def siren() -> NDArray[np.float32]:
    """Eight seconds of a siren, (1, samples) at 44.1 kHz."""
    return sounds()["siren"]


@pytest.fixture(scope="session")
def heard(street: Site, microphone: PulseServer, siren: NDArray[np.float32]) -> Site:
    """The street, whose monitor has reported a siren and kept its sound."""
    monitor = street.monitor
    assert monitor is not None
    if not monitor.query("SELECT 1 FROM events WHERE label = 'siren'"):
        sleep(WINDOW_SECONDS)
        microphone.play(siren)
        monitor.wait_until(lambda it: it.records("event"), 20)
        monitor.wait_until(lambda it: list(it.state_dir.glob("clips/**/*.flac")), 20)
    return street


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open a page of a site; at the end of the test, nothing may have gone wrong."""
    watched: list[Faults] = []
    with ExitStack() as stack:

        def open_page(of: Site, path: str = "/", **options: Any) -> Page:
            context = browser.new_context(**(DESKTOP | options))
            stack.callback(context.close)
            page = context.new_page()
            faults = Faults(of.url)
            watched.append(faults)
            faults.watch(page)
            page.goto(of.url + path)
            return page

        open_page.faults = watched
        yield open_page
    assert [fault for each in watched for fault in each.found] == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)
