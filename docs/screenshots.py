"""Take pictures of every page: desktop and phone, light and dark.

    python docs/screenshots.py FOLDER [--url http://127.0.0.1:8480]

Without --url they are of a monitor that listens to the demo scene, for a minute first.
It needs the packages of the tests, and chromium.
"""

import argparse
import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from monitor.audio.sources.demo import render_scene
from tests.support.played_sound import RATE, PlayedSound
from tests.support.web_site import site

CONFIG = """\
privacy: clips
sources: [{name: street, input: "INPUT"}]
web: {may_change: [sensitivity, mute]}
alerts: [{name: sirens, labels: [siren], command: [/bin/true]}]
"""
SETTLED_MS = 2500
SCENES = 8

PHONE = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
LOOKS = {
    f"{device}-{scheme}": {**options, "color_scheme": scheme}
    for device, options in {"desktop": DESKTOP, "phone": PHONE}.items()
    for scheme in ("light", "dark")
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = chosen.url
        if url is None:
            folder = stack.enter_context(TemporaryDirectory())
            sound = PlayedSound(Path(folder))
            text = CONFIG.replace("INPUT", sound.input)
            street = stack.enter_context(site(text))
            street.start_monitor()
            street.start_web()
            scene = render_scene(RATE)[0]
            # Long enough for all pictures; the first are taken after the first time.
            sound.begin(SCENES * (scene * 32767).astype("<i2").tobytes())
            sleep(len(scene) / RATE)
            url = street.url
        take(url, chosen.folder)


def take(url: str, folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for look, options in LOOKS.items():
            context = browser.new_context(**options)
            page = context.new_page()
            page.goto(url)
            links = page.locator("nav a")
            paths = dict.fromkeys(link.get_attribute("href") for link in links.all())
            for path in (*paths, "/thresholds?label=siren"):
                page.goto(f"{url}{path}")
                page.locator("main [aria-busy=true]").wait_for(state="detached")
                page.wait_for_timeout(SETTLED_MS)
                name = re.sub(r"\W+", "-", str(path).strip("/")) or "now"
                file = folder / f"{name}-{look}.png"
                page.screenshot(path=file, full_page=True)
                print(file)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
