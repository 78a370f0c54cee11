"""The page behind Home Assistant's ingress, which strips a prefix from its address."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from monitor.web.app import PAGES, build_app
from tests.support.supervisor import HOME, INGRESS, ingress
from tests.support.web import make_config, make_context, serving


@pytest.fixture
def home(tmp_path: Path) -> Iterator[httpx.Client]:
    """A browser of somebody who has signed in at Home Assistant."""
    config = make_config(
        trusted_proxy="127.0.0.1", proxy_signs_in=True, frame_ancestors=("self",)
    )
    app = build_app(make_context(tmp_path, config=config))
    with serving(app) as port, ingress(port) as address:
        yield httpx.Client(base_url=address, headers={"host": HOME}, timeout=10)


def links_of(text: str) -> set[str]:
    """Every address in the attributes of a page, without what is behind `?`."""
    found = re.findall(r'(?:href|src|action|content|data-source)="(/[^"?#]*)', text)
    return set(found)


def test_all_pages_and_their_files_are_below_the_prefix(home: httpx.Client) -> None:
    seen: set[str] = set()
    waiting = {f"{INGRESS}/"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = home.get(path.removeprefix(INGRESS))
        assert answer.status_code in (200, 503), path  # 503: there is no database
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert "x-frame-options" not in answer.headers
        links = (
            links_of(answer.text) if "html" in answer.headers["content-type"] else ()
        )
        for link in links:
            assert f"{link}/".startswith(f"{INGRESS}/"), (path, link)
        posts = {f"{INGRESS}{each}" for each in ("", "/language", "/logout")}
        waiting |= set(links) - seen - posts
    pages = {path.removeprefix(INGRESS) for path in seen}
    assert len(PAGES) > 3
    assert {"/", "/events", "/system", "/static/style.css"} <= pages


def test_the_live_feed_streams(home: httpx.Client) -> None:
    with home.stream("GET", "/live?types=event") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert any("offline" in next(lines) for _ in range(10))


def test_a_change_needs_the_token_and_the_origin_of_home_assistant(
    home: httpx.Client,
) -> None:
    token = re.search(r'name="token" content="([^"]+)"', home.get("/system").text)
    assert token is not None
    own = {"origin": f"http://{HOME}", "x-token": token[1]}

    def command(**changes: str) -> int:
        headers = own | changes
        return home.post("/api/command/reload", json={}, headers=headers).status_code

    assert command() == 409  # admitted; there is no monitor to do it
    assert command(origin="http://evil.example.org") == 403
    assert command(**{"x-token": "x"}) == 403


def test_the_language_is_kept_below_the_prefix(home: httpx.Client) -> None:
    page = home.get("/system").text
    token = re.search(r'name="token" content="([^"]+)"', page)
    assert token is not None
    form = {"language": "de", "token": token[1], "next": "/system"}
    headers = {"origin": f"http://{HOME}"}
    answer = home.post("/language", data=form, headers=headers)
    assert answer.status_code == 303
    assert urlsplit(answer.headers["location"]).path.startswith(INGRESS)
    assert f"path={INGRESS.lower()}" in answer.headers["set-cookie"].lower()
